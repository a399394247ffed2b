//! A tar of a few files in memory, for images. Only the plain `ustar` form: names up to 100 bytes.

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path without a leading slash; a folder when it ends with one.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// Content.
    pub content: Vec<u8>,
    /// Target, for a symbolic link.
    pub link: Option<String>,
}

impl File {
    /// A program.
    pub fn executable(path: &str, content: Vec<u8>) -> Self {
        Self { path: path.to_owned(), mode: 0o755, content, link: None }
    }
    /// A symbolic link.
    pub fn symlink(path: &str, target: &str) -> Self {
        Self { path: path.to_owned(), mode: 0o777, content: Vec::new(), link: Some(target.to_owned()) }
    }
    /// A folder.
    pub fn folder(path: &str, mode: u32) -> Self {
        Self { path: format!("{}/", path.trim_end_matches('/')), mode, content: Vec::new(), link: None }
    }
}

/// Writes an archive.
pub fn archive(files: &[File]) -> Vec<u8> {
    let mut out = Vec::new();
    for file in files {
        out.extend_from_slice(&header(file));
        out.extend_from_slice(&file.content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn header(file: &File) -> [u8; 512] {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| {
        for (target, byte) in header.iter_mut().skip(at).zip(text.bytes()) {
            *target = byte;
        }
    };
    put(0, &file.path);
    put(100, &format!("{:07o}", file.mode));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", file.content.len()));
    put(136, "00000000000");
    put(148, "        ");
    let kind = match &file.link {
        Some(_) => "2",
        None if file.path.ends_with('/') => "5",
        None => "0",
    };
    put(156, kind);
    put(157, file.link.as_deref().unwrap_or_default());
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    let checksum = format!("{sum:06o}\0 ");
    for (target, byte) in header.iter_mut().skip(148).zip(checksum.bytes()) {
        *target = byte;
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_whole_blocks_and_a_valid_checksum() {
        let bytes = archive(&[File::folder("tmp", 0o1777), File::executable("bin/app", vec![1; 513])]);
        assert_eq!(bytes.len(), 512 + 512 + 1024 + 1024);
        let header = &bytes[..512];
        let stored = std::str::from_utf8(&header[148..154]).expect("text");
        let sum: u32 = header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
        assert_eq!(u32::from_str_radix(stored, 8), Ok(sum));
    }
}
