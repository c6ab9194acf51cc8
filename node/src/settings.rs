//! The settings file: the options of `up` and `daemon`. An option on the command line replaces the setting.
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
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::data_dir::{DataDir, read_text_file};
use crate::error::CliError;

/// The settings of a daemon, from a file or from the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Addresses to listen on.
    #[serde(deserialize_with = "addresses")]
    pub listen: Option<Vec<Multiaddr>>,
    /// Addresses of other nodes.
    #[serde(deserialize_with = "addresses")]
    pub peers: Option<Vec<Multiaddr>>,
    /// True if the node uses multicast discovery.
    pub mdns: Option<bool>,
    /// Directories that providers may write to.
    pub roots: Option<Vec<PathBuf>>,
    /// The system group that may use the socket, besides the owner.
    pub socket_group: Option<String>,
    /// The log level, or a `tracing` filter.
    pub log: Option<String>,
    /// The file that these settings were read from.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

impl Settings {
    /// Reads the named file, or the one in the data directory if it exists.
    pub fn load(named_file: Option<&Path>, data_dir: &DataDir) -> Result<Self, CliError> {
        let path = named_file.map_or_else(|| data_dir.settings_file(), Path::to_path_buf);
        match read_text_file(&path) {
            Ok(text) => {
                Ok(Self { file: Some(path.clone()), ..Self::parse(&text, &path.display().to_string())? })
            }
            Err(error) if named_file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(error) => Err(CliError::usage(format!("cannot read settings {}: {error}", path.display()))),
        }
    }

    /// Parses the text of the file `name`.
    pub fn parse(text: &str, name: &str) -> Result<Self, CliError> {
        toml_edit::de::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let before = text.get(..offset).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let message = error.message().lines().next().unwrap_or_default();
            let message = message.replace("unknown field", "unknown setting");
            CliError::usage(format!("{name}:{line}:{column}: {message}"))
        })
    }

    /// These settings, completed by those of `other`.
    #[must_use]
    pub fn or_defaults(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            peers: self.peers.or(other.peers),
            mdns: self.mdns.or(other.mdns),
            roots: self.roots.or(other.roots),
            socket_group: self.socket_group.or(other.socket_group),
            log: self.log.or(other.log),
            file: self.file.or(other.file),
        }
    }
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Multiaddr>>, D::Error> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            D::Error::custom(format!("`{text}` is not an address; write it like /ip4/192.0.2.7/tcp/7440"))
        })
    };
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(parse).collect::<Result<_, _>>().map(Some)
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
            ("mdns = 1\n", "f:1:8", "expected a boolean"),
            ("peers = ['nowhere']\n", "f:1:", "not an address"),
            ("listen = 5\n", "f:1:10", "expected a sequence"),
            ("log = \n", "f:1:", ""),
            ("[net]\n", "f:1:", "unknown setting `net`"),
        ] {
            let failure = Settings::parse(text, "f").unwrap_err();
            assert!(failure.text.starts_with(position) && failure.text.contains(word), "{text:?}: {failure}");
            assert_eq!(failure.exit, crate::error::ExitKind::Usage);
        }
    }
}
