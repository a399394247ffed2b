//! Every example is applied as its reader would, and becomes ready.

use std::path::PathBuf;

use lab::platform::Platform;

/// Manifests of an example in the order of their names.
fn manifests(folder: &std::path::Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

#[tokio::test]
async fn every_example_becomes_ready() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    let mut seen = 0;
    for entry in std::fs::read_dir(Platform::examples())? {
        let folder = entry?.path();
        for file in manifests(&folder).unwrap_or_default() {
            let name = file.display().to_string();
            let output = platform.skyctl(&["apply", "-f", &name, "--wait", "--timeout", "90s"]).await?;
            anyhow::ensure!(output.code == 0, "{name}: {output:?}\n{}", platform.log());
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} manifests were found");
    // What their READMEs promise: they answer at their platform hosts.
    let list: serde_json::Value = serde_json::from_str(&platform.skyctl(&["get", "apps", "-o", "json"]).await?.stdout)?;
    let items = list["items"].as_array().or_else(|| list.as_array()).cloned().unwrap_or_default();
    for app in &items {
        for url in app["status"]["urls"].as_array().into_iter().flatten().filter_map(|url| url.as_str()) {
            let host = url.trim_start_matches("http://").split(':').next().unwrap_or_default();
            let (status, body) = platform.get(host, "/").await?;
            // The example of the edge asks for a password.
            let expected = if app["spec"]["edge"]["basicAuth"].is_null() { 200 } else { 401 };
            assert_eq!(status, expected, "{url}: {body}");
        }
    }
    assert!(items.len() >= 4, "{items:?}");
    Ok(())
}
