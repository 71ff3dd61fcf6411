//! The terminal: a progress line that makes way for everything else. Lines of
//! the job go to standard output, the progress line to standard error.

use heddle_connectors::Console;
use heddle_model::failure::{ErrorCode, Failure};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A line is drawn at most this wide when the terminal does not tell.
const WIDTH_DEFAULT: usize = 100;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One line that is drawn anew.
    Live,
    /// A line now and then.
    Plain,
    None,
}

impl Style {
    /// What suits standard error.
    pub fn detect(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        match (quiet, io::stderr().is_terminal() && !dumb) {
            (true, _) => Style::None,
            (false, true) => Style::Live,
            (false, false) => Style::Plain,
        }
    }
}

pub struct Screen {
    style: Style,
    /// The progress line that stands there.
    line: Mutex<String>,
}

impl Screen {
    pub fn new(style: Style) -> Self {
        Self { style, line: Mutex::new(String::new()) }
    }

    pub fn style(&self) -> Style {
        self.style
    }

    fn line(&self) -> MutexGuard<'_, String> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows progress: in place of the former line, or as a further one.
    pub fn progress(&self, text: &str) {
        match self.style {
            Style::None => {}
            Style::Plain => say(&format!("{text}\n")),
            Style::Live => {
                let mut line = self.line();
                *line = fit(text, width());
                draw(&line);
            }
        }
    }

    /// A message beside the progress, unless all is to be quiet.
    pub fn note(&self, text: &str) {
        if self.style != Style::None {
            let line = self.line();
            clear(&line);
            say(&format!("{text}\n"));
            draw(&line);
        }
    }

    /// Removes the progress line.
    pub fn end(&self) {
        let mut line = self.line();
        clear(&line);
        line.clear();
    }
}

impl Console for Screen {
    fn write(&self, lines: &str) -> io::Result<()> {
        let line = self.line();
        clear(&line);
        let mut out = io::stdout().lock();
        let written = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
        draw(&line);
        written
    }
}

/// Writes a result to standard output.
///
/// # Errors
/// H1302, as [`written`].
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What became of a result on its way to standard output. A reader that has
/// gone away wanted no more of it.
///
/// # Errors
/// H1302: it could not be written otherwise; nobody has it.
pub fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let message = format!("standard output cannot be written: {error}");
            Err(Failure::new(ErrorCode::ConnectorIo, message))
        }
        _ => Ok(()),
    }
}

/// Writes to standard error; there may be nobody who reads it.
pub fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn width() -> usize {
    terminal_size::terminal_size_of(io::stderr()).map_or(WIDTH_DEFAULT, |(width, _)| usize::from(width.0))
}

/// The text, cut so that it stays on one line.
fn fit(text: &str, width: usize) -> String {
    cut(text, width.saturating_sub(1))
}

/// At most so many characters of a text, the last a mark if there were more.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn clear(line: &str) {
    if !line.is_empty() {
        say("\r\x1b[2K");
    }
}

fn draw(line: &str) {
    if !line.is_empty() {
        say(&format!("\r\x1b[2K{line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_never_reaches_the_edge() {
        assert_eq!(fit("short", 10), "short");
        assert_eq!(fit("0123456789", 10), "01234567…");
        assert_eq!(fit("ääääääääääää", 10).chars().count(), 9);
    }
}
