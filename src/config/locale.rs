//! The texts of our own mails: `locales/LOCALE.toml` beside the main file, else the ones built in.

use super::document::{ConfigError, Source, read};
use crate::domain::settings::Texts;

/// English, as shipped.
const ENGLISH: &str = include_str!("../../config/locales/en.toml");

/// Texts from a file of the configuration.
pub(super) fn parse(source: Source<'_>, faults: &mut Vec<ConfigError>) -> Option<Texts> {
    read::<Texts>(source, faults)
}

/// The built-in English texts; a test holds that the file has no fault.
pub(super) fn english() -> Texts {
    toml::from_str(ENGLISH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;

    #[test]
    fn the_shipped_texts_are_whole_and_their_templates_compile() {
        let texts: Texts = toml::from_str(ENGLISH).unwrap();
        for template in [
            &texts.follower_subject,
            &texts.follower_body,
            &texts.stayed_internal_subject,
            &texts.stayed_internal_body,
        ] {
            assert!(!template.trim().is_empty());
            Template::compile(template).unwrap();
        }
        assert!(!texts.footer.is_empty());
    }
}
