//! Says what goes on and how far it is: a spinner on a terminal, a plain line every 15 s elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// One step that takes a while. Dropped without [`Step::done`], it goes away quietly (an error message follows).
#[derive(Debug)]
pub struct Step {
    what: String,
    started: Instant,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Spinner(ProgressBar),
    /// Dropping the sender ends the thread that prints.
    Lines {
        _stop: mpsc::Sender<()>,
        detail: Arc<Mutex<String>>,
    },
}

impl Step {
    /// Starts to show a step that takes about as long as `expected` when it has to be done from scratch.
    pub fn start(what: impl Into<String>, expected: Option<Duration>) -> Self {
        let what = what.into();
        let about = expected.map(|time| format!(" of about {}", minutes(time))).unwrap_or_default();
        let shown = if stderr().is_terminal() { spinner(&what, &about) } else { lines(&what, &about) };
        Self { what, started: Instant::now(), shown }
    }

    /// Ends the step with a line that stays.
    pub fn done(self) -> Duration {
        let took = self.started.elapsed();
        if let Shown::Spinner(bar) = &self.shown {
            bar.finish_and_clear();
        }
        eprintln!("  {} ({:.1} s)", self.what, took.as_secs_f64());
        took
    }

    /// Shows how far the step is, in words.
    pub fn update(&self, how_far: &str) {
        match &self.shown {
            Shown::Spinner(bar) => bar.set_message(format!("{}: {how_far}", self.what)),
            Shown::Lines { detail, .. } => {
                *detail.lock().unwrap_or_else(PoisonError::into_inner) = format!(", {how_far}");
            }
        }
    }

    /// Prints a line without disturbing the spinner.
    pub fn say(&self, line: &str) {
        match &self.shown {
            Shown::Spinner(bar) => bar.println(line),
            Shown::Lines { .. } => eprintln!("{line}"),
        }
    }
}

/// Shows `what` while `work` runs; an error says what was being done.
pub async fn during<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let step = Step::start(what, None);
    let outcome = work.await.with_context(|| format!("could not {what}"))?;
    step.done();
    Ok(outcome)
}

fn spinner(what: &str, about: &str) -> Shown {
    let bar = ProgressBar::new_spinner();
    let template = format!("{{spinner}} {{msg}} {{elapsed}}{about}");
    bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    Shown::Spinner(bar)
}

fn lines(what: &str, about: &str) -> Shown {
    let (stop, stopped) = mpsc::channel::<()>();
    let (what, about, started) = (what.to_owned(), about.to_owned(), Instant::now());
    let detail = Arc::new(Mutex::new(String::new()));
    let shown = Arc::clone(&detail);
    thread::spawn(move || {
        while stopped.recv_timeout(PLAIN_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
            let detail = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
            eprintln!("  … {what}: {}{about}{detail}", minutes(started.elapsed()));
        }
    });
    Shown::Lines { _stop: stop, detail }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_minutes_and_seconds() {
        assert_eq!(minutes(Duration::from_secs(5)), "0:05");
        assert_eq!(minutes(Duration::from_secs(301)), "5:01");
    }
}
