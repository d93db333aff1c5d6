//! The configuration files. The first byte of an input picks which of them it is; the others are empty or not there.
//!
//! Holds: reading never panics; a fault names the file, a line that is there, and what is wrong; what is accepted can be shown,
//! and what is shown reads as the same.

use std::cell::LazyCell;
use std::path::Path;

use postern::config::{Config, describe, load};

const FILES: [&str; 4] = ["postern.toml", "people.toml", "triggers.toml", "locales/en.toml"];

thread_local! {
    static FOLDER: LazyCell<tempfile::TempDir> = LazyCell::new(|| tempfile::tempdir().unwrap());
}

pub fn check(input: &[u8]) {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let file = FILES[usize::from(choice) % FILES.len()];
    let text = String::from_utf8_lossy(bytes);
    FOLDER.with(|folder| {
        let main = folder.path().join(FILES[0]);
        std::fs::create_dir_all(folder.path().join("locales")).unwrap();
        for name in FILES {
            let _ = std::fs::remove_file(folder.path().join(name));
        }
        std::fs::write(&main, "").unwrap();
        // Without a file there are the standard triggers, which take their time to be read.
        std::fs::write(folder.path().join("triggers.toml"), "").unwrap();
        std::fs::write(folder.path().join(file), text.as_bytes()).unwrap();
        match load(Some(&main)) {
            Ok(config) => check_shown(&main, config),
            Err(faults) => {
                assert!(!faults.0.is_empty(), "refused without a fault");
                for fault in faults.0 {
                    assert!(fault.file.starts_with(folder.path()), "{fault}");
                    assert!(!fault.message.is_empty(), "{fault}");
                    let lines = text.split('\n').count();
                    assert!(
                        fault.line.is_none_or(|line| (1..=lines).contains(&line)),
                        "{fault} of {lines} lines"
                    );
                }
            }
        }
    });
}

fn check_shown(main: &Path, config: Config) {
    let shown = describe(&config);
    // Passwords are masked, and certificates lie in files of their own.
    if config.delivery.smarthost.is_some() {
        return;
    }
    std::fs::write(main, &shown).unwrap();
    let again = load(Some(main)).unwrap_or_else(|faults| panic!("{faults}\n{shown}"));
    assert_eq!(again, config, "{shown}");
}
