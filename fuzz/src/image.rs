//! An image reference.
//!
//! What is accepted prints as it was given, and each of its forms is a reference again.

use nebula::model::ImageReference;

/// A text that may be a reference.
pub fn check(bytes: &[u8]) {
    let Ok(given) = std::str::from_utf8(bytes) else { return };
    let image = match ImageReference::parse(given) {
        Ok(image) => image,
        Err(error) => {
            let length = error.to_string().len();
            return assert!(length < 1_000, "{length} bytes of reason");
        }
    };
    assert_eq!(image.as_str(), given);
    assert_eq!(image.to_string(), given);
    assert_eq!(ImageReference::parse(given).as_ref(), Ok(&image));
    let repository = parse(&image.repository());
    assert_eq!(repository.registry(), image.registry(), "{given}");
    // Docker's own form of it is ambiguous; nobody can have such a name on the default registry.
    if image.registry().is_some_and(is_default) && begins_like_a_registry(&image) {
        return;
    }
    // What Docker lists is looked up by this form, so it must name the same image.
    let familiar = parse(&image.familiar());
    assert_eq!(familiar.familiar(), image.familiar(), "{given}");
    assert_eq!(familiar.digest(), image.digest(), "{given}");
    if image.digest().is_none() {
        assert_eq!(familiar.tag(), image.tag(), "{given}");
    }
}

fn parse(text: &str) -> ImageReference {
    ImageReference::parse(text).unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

fn is_default(registry: &str) -> bool {
    matches!(registry, "docker.io" | "index.docker.io")
}

fn begins_like_a_registry(image: &ImageReference) -> bool {
    let repository = image.repository();
    let mut parts = repository.split('/').skip(1);
    let first = parts.next().unwrap_or_default();
    parts.next().is_some() && (first == "localhost" || first.contains('.'))
}
