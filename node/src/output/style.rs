//! Styles of terminal text, and whether to use them.

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Effects};

/// What a piece of text means. The meaning decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Ordinary text.
    Plain,
    /// The most important text of a line.
    Bold,
    /// Text of little importance.
    Dim,
    /// A good state, or an inserted line.
    Good,
    /// A state that needs attention.
    Warning,
    /// A bad state, or a deleted line.
    Bad,
    /// A word within an inserted line that the old line does not have.
    InsertedWord,
    /// A word within a deleted line that the new line does not have.
    DeletedWord,
    /// An id.
    Id,
}

impl Style {
    fn ansi(self) -> anstyle::Style {
        let plain = anstyle::Style::new();
        match self {
            Self::Plain => plain,
            Self::Bold => plain.bold(),
            Self::Dim => plain.dimmed(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::InsertedWord => AnsiColor::Green.on_default().effects(Effects::INVERT),
            Self::DeletedWord => AnsiColor::Red.on_default().effects(Effects::INVERT),
            Self::Id => AnsiColor::Cyan.on_default(),
        }
    }
}

/// Sets when this process colours its output. `auto` means on a terminal, unless `NO_COLOR` is set or
/// `TERM` is `dumb`.
pub fn set_color(color: clap::ColorChoice) {
    match color {
        clap::ColorChoice::Auto => ColorChoice::Auto,
        clap::ColorChoice::Always => ColorChoice::Always,
        clap::ColorChoice::Never => ColorChoice::Never,
    }
    .write_global();
}

/// Applies styles to text, or leaves it plain.
#[derive(Clone, Copy, Debug)]
pub struct Styler {
    /// True if text is coloured.
    pub is_colored: bool,
}

impl Styler {
    /// A styler that leaves all text plain.
    pub const PLAIN: Self = Self { is_colored: false };

    /// The styler for standard output.
    pub fn for_stdout() -> Self {
        Self { is_colored: AutoStream::choice(&std::io::stdout()) != ColorChoice::Never }
    }

    /// The styler for standard error.
    pub fn for_stderr() -> Self {
        Self { is_colored: AutoStream::choice(&std::io::stderr()) != ColorChoice::Never }
    }

    /// The text in a style.
    pub fn paint(self, style: Style, text: &str) -> String {
        let ansi = style.ansi();
        if self.is_colored && !text.is_empty() { format!("{ansi}{text}{ansi:#}") } else { text.to_owned() }
    }
}
