//! Enums that are one word in JSON.

/// Defines an enum that is one word in JSON and on the terminal. A word of a newer version is kept in
/// `Unknown`, because a command and its daemon can differ in version.
macro_rules! word_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// A word that this version does not know.
            Unknown(String),
        }

        impl $name {
            /// The word in JSON and on the terminal.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$variant,)+
                    _ => Self::Unknown(word),
                }
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::dto::{EventOp, QuarantineState};

    #[test]
    fn a_word_of_a_newer_version_survives_decoding_and_encoding() {
        for (json, value) in [
            ("\"aside\"", QuarantineState::Replicated),
            ("\"newer\\n\"", QuarantineState::Unknown("newer\n".to_owned())),
        ] {
            assert_eq!(serde_json::from_str::<QuarantineState>(json).unwrap(), value);
            assert_eq!(serde_json::to_string(&value).unwrap(), json);
        }
        assert_eq!(EventOp::InSync.to_string(), "in-sync");
        assert!(serde_json::from_str::<EventOp>("1").is_err());
    }
}
