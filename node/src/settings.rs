//! The settings file: what the flags of `up` and `daemon` say, written down. A flag goes before the file; of lists, the
//! flag's takes the place of the file's.
//!
//! ```toml
//! listen = ["/ip4/0.0.0.0/tcp/7440"]
//! peers = ["/ip4/192.0.2.7/tcp/7440"]
//! mdns = true
//! roots = ["/etc/shop"]
//! socket_group = "larder"
//! log = "info"
//! ```

use std::path::{Path, PathBuf};

use larder_net::Multiaddr;
use toml_edit::{Document, Item};

use crate::data_dir::{DataDir, read_text_file};
use crate::error::CliError;

/// What the file, or the flags, say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: Option<Vec<Multiaddr>>,
    /// Where other nodes are.
    pub peers: Option<Vec<Multiaddr>>,
    /// Whether to find others by multicast.
    pub mdns: Option<bool>,
    /// Where providers may write.
    pub roots: Option<Vec<PathBuf>>,
    /// Who besides the owner may use the socket.
    pub socket_group: Option<String>,
    /// What to log, as `tracing` filters have it.
    pub log: Option<String>,
}

/// The keys of the file.
const SETTING_KEYS: [&str; 6] = ["listen", "peers", "mdns", "roots", "socket_group", "log"];

impl Settings {
    /// Reads the named file, or the one in the data directory if there is one.
    pub fn load(named_file: Option<&Path>, data_dir: &DataDir) -> Result<Self, CliError> {
        let path = named_file.map_or_else(|| data_dir.settings_file(), Path::to_path_buf);
        match read_text_file(&path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(error) if named_file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(error) => Err(CliError::usage(format!("cannot read settings {}: {error}", path.display()))),
        }
    }

    /// Reads the text of the file `name`.
    pub fn parse(text: &str, name: &str) -> Result<Self, CliError> {
        let position = |offset: usize| {
            let before = text.get(..offset).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("{name}:{line}:{column}")
        };
        let document = Document::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            CliError::usage(format!(
                "{}: {}",
                position(offset),
                error.message().lines().next().unwrap_or_default()
            ))
        })?;
        let mut settings = Self::default();
        for (key, item) in document.as_table().iter() {
            let span = document.as_table().get_key_value(key).and_then(|(key, _)| key.span());
            let position = position(span.or_else(|| item.span()).map_or(0, |span| span.start));
            settings.set_key(key, item, &position)?;
        }
        Ok(settings)
    }

    fn set_key(&mut self, key: &str, item: &Item, position: &str) -> Result<(), CliError> {
        let wrong_type = |expected: &str| CliError::usage(format!("{position}: `{key}` must be {expected}"));
        match key {
            "listen" => self.listen = Some(address_list(item, key, position)?),
            "peers" => self.peers = Some(address_list(item, key, position)?),
            "mdns" => self.mdns = Some(item.as_bool().ok_or_else(|| wrong_type("true or false"))?),
            "roots" => {
                self.roots = Some(string_list(item, key, position)?.into_iter().map(PathBuf::from).collect())
            }
            "socket_group" => {
                self.socket_group =
                    Some(string_value(item).ok_or_else(|| wrong_type("a group of this system"))?)
            }
            "log" => self.log = Some(string_value(item).ok_or_else(|| wrong_type("a level, as \"info\""))?),
            _ => {
                return Err(CliError::usage(format!("{position}: unknown setting `{key}`"))
                    .with_hint(format!("the settings are {}", SETTING_KEYS.join(", "))));
            }
        }
        Ok(())
    }

    /// These settings, and where they are silent, the others.
    #[must_use]
    pub fn or_defaults(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            peers: self.peers.or(other.peers),
            mdns: self.mdns.or(other.mdns),
            roots: self.roots.or(other.roots),
            socket_group: self.socket_group.or(other.socket_group),
            log: self.log.or(other.log),
        }
    }
}

fn string_value(item: &Item) -> Option<String> {
    item.as_str().map(str::to_owned)
}

fn string_list(item: &Item, key: &str, position: &str) -> Result<Vec<String>, CliError> {
    let list = item.as_array().and_then(|array| {
        array.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    list.ok_or_else(|| CliError::usage(format!("{position}: `{key}` must be a list of texts")))
}

fn address_list(item: &Item, key: &str, position: &str) -> Result<Vec<Multiaddr>, CliError> {
    let parse = |text: String| {
        text.parse().map_err(|_| {
            CliError::usage(format!(
                "{position}: `{text}` in `{key}` is not an address; one looks like /ip4/192.0.2.7/tcp/7440"
            ))
        })
    };
    string_list(item, key, position)?.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settings_file_is_read_and_errors_name_line_and_column() {
        let settings = Settings::parse("mdns = false\nroots = ['/etc/shop']\n", "f").unwrap();
        assert_eq!((settings.mdns, settings.roots), (Some(false), Some(vec![PathBuf::from("/etc/shop")])));
        for (text, position, word) in [
            ("\n  mdsn = true\n", "f:2:3", "unknown setting `mdsn`"),
            ("mdns = 1\n", "f:1:1", "true or false"),
            ("peers = ['nowhere']\n", "f:1:1", "not an address"),
            ("listen = 5\n", "f:1:1", "list"),
            ("log = \n", "f:1:", ""),
            ("[net]\n", "f:1:", "unknown setting `net`"),
        ] {
            let failure = Settings::parse(text, "f").unwrap_err();
            assert!(failure.text.starts_with(position) && failure.text.contains(word), "{text:?}: {failure}");
            assert_eq!(failure.exit, crate::error::ExitKind::Usage);
        }
    }
}
