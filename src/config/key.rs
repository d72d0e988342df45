//! Where an API key or a token comes from, and fetching it from there.
//!
//! Reading the configuration reads no key; this does, when a request is about to need it. Errors name the place, never
//! what stands there.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use super::{Field, Http, Place, Source};
use crate::secret::ApiKey;

/// Where an API key comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyRef {
    /// An environment variable.
    Env(String),
    /// A file, by an absolute path. Its final newline is not part of the key.
    File(PathBuf),
    /// A systemd credential: the file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// A key or token that could not be had: who needs it, what is wrong, and how to provide it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{of}: {what}")]
pub struct KeyError {
    of: String,
    what: String,
}

pub(super) const KEY_FORMS: &str = r#"{ env = "NAME" }, { file = "/absolute/path" } or { credential = "name" }"#;

/// More than any key: a wrong path may name a device or a database.
const FILE_BYTES: u64 = 64 * 1024;

impl Source {
    /// Fetches the source's API key. Reads the environment and the file anew each time, so that a reload sees a new key.
    pub fn read_key(&self) -> Result<ApiKey, KeyError> {
        let key = self.api_key.read("API key", |name| std::env::var_os(name));
        key.map_err(|what| KeyError { of: format!("source {}", self.name), what })
    }
}

impl Http {
    /// Fetches the token, if one is asked for, as [`Source::read_key`] does.
    pub fn read_token(&self) -> Result<Option<ApiKey>, KeyError> {
        let token = self.token.as_ref().map(|from| from.read("token", |name| std::env::var_os(name)));
        token.transpose().map_err(|what| KeyError { of: "[http] token".to_owned(), what })
    }
}

impl KeyRef {
    /// Fetches the secret, which errors call `what`.
    fn read(&self, what: &str, env: impl Fn(&str) -> Option<OsString>) -> Result<ApiKey, String> {
        let text = match self {
            KeyRef::Env(name) => {
                let value = env(name).ok_or_else(|| format!("{self} is not set; set it to the {what}"))?;
                let text = value.into_string().map_err(|_| format!("{self} is not text"))?;
                Zeroizing::new(text)
            }
            KeyRef::File(path) => {
                read_file(path).map_err(|error| format!("cannot read the {what} from {self}: {error}"))?
            }
            KeyRef::Credential(name) => {
                let advice = format!("under systemd, add LoadCredential={name}:/path/of/the/key to the unit");
                let Some(directory) = env("CREDENTIALS_DIRECTORY") else {
                    return Err(format!("{self} needs $CREDENTIALS_DIRECTORY, which is not set; {advice}"));
                };
                read_file(&Path::new(&directory).join(name))
                    .map_err(|error| format!("cannot read the {what} from {self}: {error}; {advice}"))?
            }
        };
        let is_file = !matches!(self, KeyRef::Env(_));
        let key = if is_file { without_newline(&text) } else { &text };
        ApiKey::new(key).map_err(|error| format!("{self} holds no {what}: {error}"))
    }
}

/// Reads where a secret comes from, which errors call `what`. Values are checked so that a secret pasted here by mistake
/// is refused, and not repeated.
pub(super) fn key_ref(field: &Field<'_>, place: &'static Place, what: &str) -> Option<KeyRef> {
    if field.as_text().is_some() {
        let article = if what.starts_with('A') { "an" } else { "a" };
        field.wrong(format!("{article} {what} must not stand in this file; expected {KEY_FORMS}"));
        return None;
    }
    let table = field.section(place, KEY_FORMS)?;
    let given: Vec<_> = place.keys.iter().filter_map(|key| Some((*key, table.get(key)?))).collect();
    let [(kind, value)] = given.as_slice() else {
        if !table.is_odd() {
            field.wrong(format!("not exactly one place to find the {what}; expected {KEY_FORMS}"));
        }
        return None;
    };
    let of = |text: &str, fits: fn(u8) -> bool| !text.is_empty() && text.bytes().all(fits);
    match *kind {
        "env" => value.read("the name of an environment variable", |text| {
            let fits = of(text, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
            let good = fits && !text.starts_with(|first: char| first.is_ascii_digit());
            let wrong =
                "not the name of an environment variable; expected capitals, digits and _, such as PROD_API_KEY";
            good.then(|| KeyRef::Env(text.to_owned())).ok_or(wrong)
        }),
        "file" => value.read("the path of a file", |text| {
            let wrong = "not an absolute path; expected one such as /etc/segsync/prod.key";
            let path = PathBuf::from(text);
            (path.is_absolute() && !text.contains('\0')).then_some(KeyRef::File(path)).ok_or(wrong)
        }),
        _ => value.read("the name of a systemd credential", |text| {
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
            let wrong = "not the name of a systemd credential; expected lower-case letters, digits, -, _ and .";
            let good = of(text, fits) && !text.starts_with('.');
            good.then(|| KeyRef::Credential(text.to_owned())).ok_or(wrong)
        }),
    }
}

fn read_file(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn without_newline(text: &str) -> &str {
    let Some(line) = text.strip_suffix('\n') else { return text };
    line.strip_suffix('\r').unwrap_or(line)
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyRef::Env(name) => write!(f, "environment variable {name}"),
            KeyRef::File(path) => write!(f, "file {}", path.display()),
            KeyRef::Credential(name) => write!(f, "systemd credential {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "console-Abc123";

    fn read(from: &KeyRef, env: &[(&str, &str)]) -> Result<String, String> {
        let key =
            from.read("API key", |name| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()));
        key.map(|key| key.expose().to_owned())
    }

    #[test]
    fn a_variable_holds_the_key_alone() {
        let from = KeyRef::Env("API_KEY".to_owned());
        assert_eq!(read(&from, &[("API_KEY", KEY)]), Ok(KEY.to_owned()));
        assert_eq!(
            read(&from, &[("OTHER", KEY)]),
            Err("environment variable API_KEY is not set; set it to the API key".to_owned())
        );
        for odd in ["", "s3cr3t", "s3cr3ts3cr3t\n"] {
            let error = read(&from, &[("API_KEY", odd)]).expect_err("no key");
            assert!(
                error.starts_with("environment variable API_KEY holds no API key: an API key is 8 or more"),
                "{error}"
            );
            assert!(!error.contains("s3cr3t"));
        }
    }

    #[test]
    fn one_final_newline_of_a_file_is_not_the_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let env = [("CREDENTIALS_DIRECTORY", directory.path().to_str().expect("text"))];
        let path = directory.path().join("prod");
        let (file, credential) = (KeyRef::File(path.clone()), KeyRef::Credential("prod".to_owned()));
        for (end, good) in [("", true), ("\n", true), ("\r\n", true), ("\n\n", false), (" \n", false), ("\r", false)] {
            std::fs::write(&path, format!("{KEY}{end}")).expect("written");
            for from in [&file, &credential] {
                let key = read(from, &env);
                assert_eq!(key.as_deref().ok(), good.then_some(KEY), "{end:?}");
                assert!(key.is_ok() || !format!("{key:?}").contains(KEY));
            }
        }
        std::fs::write(&path, b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8").expect("written");
        assert!(read(&file, &env).is_err());
    }

    #[test]
    fn a_missing_file_or_credential_says_how_to_provide_it() {
        let file = KeyRef::File(PathBuf::from("/nonexistent/key"));
        insta::assert_snapshot!(read(&file, &[]).expect_err("no file"),
            @"cannot read the API key from file /nonexistent/key: No such file or directory (os error 2)");
        let credential = KeyRef::Credential("acme".to_owned());
        insta::assert_snapshot!(read(&credential, &[]).expect_err("no directory"),
            @"systemd credential acme needs $CREDENTIALS_DIRECTORY, which is not set; under systemd, add LoadCredential=acme:/path/of/the/key to the unit");
        insta::assert_snapshot!(read(&credential, &[("CREDENTIALS_DIRECTORY", "/nonexistent")]).expect_err("no credential"),
            @"cannot read the API key from systemd credential acme: No such file or directory (os error 2); under systemd, add LoadCredential=acme:/path/of/the/key to the unit");
    }
}
