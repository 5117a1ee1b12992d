//! Commands for the user to paste.

use std::path::Path;

/// How this program was called, so that a pasted command finds it too.
pub fn program_name() -> String {
    let name = std::env::args_os().next().unwrap_or_else(|| "viaduct".into());
    quoted(Path::new(&name))
}

/// A path as one word of a shell command.
pub fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+,@%".contains(&byte));
    if is_plain {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_stay_one_word() {
        assert_eq!(quoted(Path::new("/var/lib/x-1")), "/var/lib/x-1");
        assert_eq!(quoted(Path::new("/it's here")), "'/it'\\''s here'");
    }
}
