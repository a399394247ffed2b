//! What an image reference means now, by Kubernetes' rule for pull policies.

use api_types::ImageRef;
use api_types::kinds::app::ImagePullPolicy;

use super::within;
use super::{Call, DockerSwarm, EngineError, EngineResult, ImageResolution, Target};

/// An image that the engine has.
struct LocalImage {
    id: String,
    /// `repository@sha256:…` for each registry that it came from or went to.
    repo_digests: Vec<String>,
}

/// What a registry said.
enum RegistryAnswer {
    Digest(String),
    /// It answered, and does not have the image or does not say whether it has.
    Refused(String),
    /// It answered that it wants credentials, or other ones.
    Denied(String),
    /// It did not answer.
    Silent(String),
}

impl DockerSwarm {
    pub(super) async fn resolve_image(&self, image: &ImageRef, policy: ImagePullPolicy) -> EngineResult<ImageResolution> {
        let missing = |said: &str| EngineError::NotFound { what: format!("image {image}{said}") };
        if image.is_id() {
            return match self.local_image(image).await? {
                Some(local) => Ok(ImageResolution::Local(local.id)),
                None => Err(missing("")),
            };
        }
        if image.is_pinned() {
            return Ok(ImageResolution::Pinned(image.to_string()));
        }
        let local = self.local_image(image).await?;
        match (policy, local) {
            (ImagePullPolicy::Never, Some(local)) => Ok(ImageResolution::Local(local.id)),
            (ImagePullPolicy::Never, None) => Err(missing("")),
            (ImagePullPolicy::IfNotPresent, Some(local)) => Ok(from_local(image, local)),
            (ImagePullPolicy::IfNotPresent | ImagePullPolicy::Always, local) => match (self.ask_registry(image).await?, local) {
                (RegistryAnswer::Digest(digest), _) => pinned(image, &digest),
                (_, Some(local)) => Ok(from_local(image, local)),
                (RegistryAnswer::Denied(message), None) => Err(EngineError::Denied { what: format!("image {image}"), message }),
                (RegistryAnswer::Refused(said), None) => Err(missing(&format!(" (the registry says: {said})"))),
                (RegistryAnswer::Silent(message), None) => {
                    let registry = registry_of(image.repository()).to_owned();
                    Err(EngineError::RegistrySilent { registry, image: image.to_string(), message })
                }
            },
        }
    }

    async fn local_image(&self, image: &ImageRef) -> EngineResult<Option<LocalImage>> {
        let target = Target::new("image", image.to_string());
        match self.read(Call::ImageInspect, &target, self.docker().inspect_image(&image.to_string())).await {
            Ok(found) => {
                let repo_digests = found.repo_digests.unwrap_or_default();
                Ok(found.id.filter(|id| !id.is_empty()).map(|id| LocalImage { id, repo_digests }))
            }
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ask_registry(&self, image: &ImageRef) -> EngineResult<RegistryAnswer> {
        let target = Target::new("registry of image", image.to_string());
        let name = with_tag(image);
        let call = self.docker().inspect_registry_image(&name, None);
        let options = &self.inner.options;
        let answer = within(&target, options.registry_deadline, call);
        match options.metrics.count(Call::RegistryInspect, answer).await {
            Ok(found) => Ok(match found.descriptor.digest {
                Some(digest) => RegistryAnswer::Digest(digest),
                None => RegistryAnswer::Refused("no digest".to_owned()),
            }),
            Err(error) => registry_error(error),
        }
    }
}

/// Tells a registry that refuses from one that does not answer. The engine passes on a refusal as a 4xx,
/// and the lack of an answer as a 500.
fn registry_error(error: EngineError) -> EngineResult<RegistryAnswer> {
    match error {
        EngineError::NotFound { .. } => Ok(RegistryAnswer::Refused("not found".to_owned())),
        EngineError::Other { status: 401, message, .. } => Ok(RegistryAnswer::Denied(message)),
        EngineError::Other { status, message, .. } if (400..500).contains(&status) => Ok(refusal(message)),
        EngineError::Invalid { message, .. } => Ok(refusal(message)),
        EngineError::Other { status, message, .. } if status >= 500 => {
            let text = message.to_ascii_lowercase();
            let refused = ["manifest unknown", "denied", "unauthorized", "no basic auth", "name unknown"];
            Ok(if refused.iter().any(|word| text.contains(word)) { refusal(message) } else { RegistryAnswer::Silent(message) })
        }
        EngineError::Unreachable { message, .. } => Ok(RegistryAnswer::Silent(message)),
        // A registry that the engine cannot reach because it is overloaded says 503, which is classed by status.
        EngineError::NotManager { message } => Ok(RegistryAnswer::Silent(message)),
        other => Err(other),
    }
}

/// A registry that asks for credentials says so in these words. "Denied" alone it also says of what does not exist.
fn refusal(message: String) -> RegistryAnswer {
    let text = message.to_ascii_lowercase();
    let wants_credentials = ["unauthorized", "authentication required", "no basic auth"].iter().any(|word| text.contains(word));
    if wants_credentials { RegistryAnswer::Denied(message) } else { RegistryAnswer::Refused(message) }
}

/// A digest of the same repository lets every node pull it; without one the image is on this engine only.
fn from_local(image: &ImageRef, local: LocalImage) -> ImageResolution {
    let wanted = familiar(image.repository());
    let digest = local.repo_digests.iter().find_map(|entry| {
        let (repository, digest) = entry.split_once('@')?;
        (familiar(repository) == wanted).then_some(digest)
    });
    let pinned = digest.and_then(|digest| image.pinned_to(digest).ok());
    pinned.map_or(ImageResolution::Local(local.id), |pinned| ImageResolution::Pinned(pinned.to_string()))
}

fn pinned(image: &ImageRef, digest: &str) -> EngineResult<ImageResolution> {
    match image.pinned_to(digest) {
        Ok(pinned) => Ok(ImageResolution::Pinned(pinned.to_string())),
        Err(error) => Err(EngineError::Invalid { what: format!("image {image}"), message: error.to_string() }),
    }
}

/// The host that a repository lives on; names without one are Docker Hub's.
fn registry_of(repository: &str) -> &str {
    match repository.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// The short form in which the engine writes Docker Hub's names.
fn familiar(repository: &str) -> &str {
    let path = ["docker.io/", "index.docker.io/"].iter().find_map(|host| repository.strip_prefix(host));
    let path = path.unwrap_or(repository);
    path.strip_prefix("library/").unwrap_or(path)
}

/// A registry is asked for a tag; none means `latest`.
fn with_tag(image: &ImageRef) -> String {
    if image.tag().is_some() { image.to_string() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn resolve(image: &str, digests: &[String]) -> ImageResolution {
        let local = LocalImage { id: A.into(), repo_digests: digests.to_vec() };
        from_local(&image.parse().expect("valid"), local)
    }

    #[test]
    fn a_local_image_is_pinned_only_by_a_digest_of_its_own_repository() {
        assert_eq!(resolve("shop:1", &[]), ImageResolution::Local(A.into()));
        assert_eq!(resolve("shop:1", &[format!("other@{B}")]), ImageResolution::Local(A.into()));
        assert_eq!(resolve("shop:1", &[format!("other@{A}"), format!("shop@{B}")]), ImageResolution::Pinned(format!("shop@{B}")));
        let hub = format!("docker.io/library/nginx@{B}");
        assert_eq!(resolve("docker.io/library/nginx:1", &[format!("nginx@{B}")]), ImageResolution::Pinned(hub));
    }

    #[test]
    fn a_registry_that_refuses_is_not_a_registry_that_is_silent() {
        let other = |status, message: &str| EngineError::Other { what: String::new(), status, message: message.to_owned() };
        let refused = [
            EngineError::NotFound { what: String::new() },
            other(403, "denied"),
            other(500, "errors: denied: requested access to the resource is denied"),
        ];
        for error in refused {
            assert!(matches!(registry_error(error.clone()), Ok(RegistryAnswer::Refused(_))), "{error}");
        }
        for error in [
            other(401, "unauthorized: authentication required"),
            other(500, "errors:\nunauthorized: authentication required"),
            other(500, "Head \"http://127.0.0.1:5000/v2/shop/manifests/1\": no basic auth credentials"),
        ] {
            assert!(matches!(registry_error(error.clone()), Ok(RegistryAnswer::Denied(_))), "{error}");
        }
        let silent = [
            other(500, "Get \"https://registry.example/v2/\": dial tcp: lookup registry.example: no such host"),
            EngineError::Unreachable { what: String::new(), message: "no answer".into() },
        ];
        for error in silent {
            assert!(matches!(registry_error(error.clone()), Ok(RegistryAnswer::Silent(_))), "{error}");
        }
    }

    #[test]
    fn a_registry_is_named_by_its_host() {
        for (image, registry) in [
            ("registry.example:5000/shop:1", "registry.example:5000"),
            ("localhost/shop", "localhost"),
            ("acme/shop:1", "docker.io"),
            ("nginx", "docker.io"),
        ] {
            let image: ImageRef = image.parse().expect(image);
            assert_eq!(registry_of(image.repository()), registry, "{image}");
        }
    }

    #[test]
    fn a_reference_without_a_tag_means_latest() {
        assert_eq!(with_tag(&"localhost:5000/shop".parse().expect("valid")), "localhost:5000/shop:latest");
        assert_eq!(with_tag(&"shop:2".parse().expect("valid")), "shop:2");
    }
}
