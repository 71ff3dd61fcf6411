//! What operators print, and what they log as WARN or ERROR, shown beside the
//! progress: so few lines a second that a chatty job leaves the terminal
//! readable. Everything else of the log is `logging`'s matter.

use crate::screen::{Screen, cut};
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Lines a second, of all subtasks together.
const LINES_PER_SECOND: u32 = 20;
/// Characters of a task's name and of a line.
const TASK_MAX: usize = 60;
const LINE_MAX: usize = 500;
/// The target of everything that a guest says.
const TARGET: &str = "guest";
/// The origins that are a guest's standard output and error.
const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// A cheap handle.
#[derive(Clone)]
pub struct GuestLines {
    screen: Arc<Screen>,
    rate: Arc<Mutex<Rate>>,
}

impl GuestLines {
    pub fn new(screen: Arc<Screen>) -> Self {
        Self { screen, rate: Arc::default() }
    }

    /// As a part of the log.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        self.clone().with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
    }

    /// Says how many lines were left out since that was last said.
    pub fn finish(&self) {
        if let Some(note) = self.rate().left_out() {
            self.screen.note(&note);
        }
    }

    fn rate(&self) -> MutexGuard<'_, Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for GuestLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = *event.metadata().level();
        if level > Level::WARN && !STREAMS.contains(&line.origin.as_str()) {
            return;
        }
        let (shown, note) = self.rate().admit(Instant::now());
        if let Some(note) = note {
            self.screen.note(&note);
        }
        if shown {
            self.screen.note(&line.text(level));
        }
    }
}

#[derive(Default)]
struct Line {
    task: String,
    origin: String,
    message: String,
}

impl Line {
    fn text(&self, level: Level) -> String {
        let (task, message) = (cut(&self.task, TASK_MAX), cut(&self.message, LINE_MAX));
        if STREAMS.contains(&self.origin.as_str()) {
            return format!("[{task}] {message}");
        }
        format!("[{task}] {level} {}: {message}", self.origin)
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let to = match field.name() {
            "task" => &mut self.task,
            "origin" => &mut self.origin,
            "message" => &mut self.message,
            _ => return,
        };
        // Writing to a string does not fail.
        let _ = write!(to, "{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Admits so many lines a second.
#[derive(Default)]
struct Rate {
    window: Option<Instant>,
    shown: u32,
    left_out: u64,
}

impl Rate {
    /// Whether a line is shown, and what is to be said of those before it.
    fn admit(&mut self, now: Instant) -> (bool, Option<String>) {
        let mut note = None;
        if self.window.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            self.window = Some(now);
            self.shown = 0;
            note = self.left_out();
        }
        if self.shown < LINES_PER_SECOND {
            self.shown += 1;
            return (true, note);
        }
        self.left_out += 1;
        (false, note)
    }

    fn left_out(&mut self) -> Option<String> {
        match std::mem::take(&mut self.left_out) {
            0 => None,
            1 => Some("1 more line of the operators is not shown; -v shows all".to_owned()),
            count => Some(format!("{count} more lines of the operators are not shown; -v shows all")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut rate = Rate::default();
        let start = Instant::now();
        let shown = (0..100).filter(|_| rate.admit(start) == (true, None)).count();
        assert_eq!(shown, LINES_PER_SECOND as usize);
        let (shown, note) = rate.admit(start + Duration::from_secs(1));
        assert!(shown);
        assert_eq!(note.as_deref(), Some("80 more lines of the operators are not shown; -v shows all"));
        assert_eq!(rate.admit(start + Duration::from_secs(1)), (true, None));
        assert_eq!(rate.left_out(), None);
    }

    #[test]
    fn what_is_printed_stands_alone_and_what_is_logged_names_its_origin() {
        let line = |origin: &str| Line {
            task: "work (1/2)".to_owned(),
            origin: origin.to_owned(),
            message: "hello".to_owned(),
        };
        assert_eq!(line("stdout").text(Level::INFO), "[work (1/2)] hello");
        assert_eq!(line("job::clean").text(Level::WARN), "[work (1/2)] WARN job::clean: hello");
    }
}
