//! Tokens made by the published recipe, independent of the code under test.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A rule's name and key.
#[derive(Clone)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) key: String,
}

impl Rule {
    /// The rule in a connection string.
    pub(crate) fn of(connection_string: &str) -> Self {
        let value = |name: &str| {
            let field = connection_string
                .split(';')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            field
                .unwrap_or_else(|| panic!("no {name} in the connection string"))
                .to_owned()
        };
        Self {
            name: value("SharedAccessKeyName"),
            key: value("SharedAccessKey"),
        }
    }

    /// A token for `http://localhost/{path}` that expires `seconds` from now; a negative number makes an expired one.
    pub(crate) fn token(&self, path: &str, seconds: i64) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("clock after 1970")
            .as_secs();
        let expires = now.saturating_add_signed(seconds);
        let resource = encode(&format!("http://localhost/{path}"));
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()).expect("HMAC takes any key");
        mac.update(format!("{resource}\n{expires}").as_bytes());
        let signature = encode(&BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        format!(
            "SharedAccessSignature sr={resource}&sig={signature}&se={expires}&skn={}",
            self.name
        )
    }
}

/// Percent-encodes everything but letters, digits and `-._`.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes every write");
        }
    }
    out
}
