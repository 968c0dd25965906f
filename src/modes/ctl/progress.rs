//! How far devices are, while somebody waits for them: a bar on a terminal, elsewhere a line
//! whenever it changes.

use super::output;
use super::rollout::Seen;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;

/// The bar counts the devices that are decided, of those that can be waited for.
const TEMPLATE: &str = "{bar:30} {pos} of {len} {msg}";

/// What is shown of a wait; gone when it is dropped.
pub(super) struct Progress {
    what: String,
    /// On a terminal.
    bar: Option<ProgressBar>,
    shown: String,
}

impl Progress {
    pub(super) fn new(what: String) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // The template is one of ours; the default one shows the same in other words.
            let style = ProgressStyle::with_template(TEMPLATE);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { what, bar, shown: String::new() }
    }

    /// Shows what was seen, if it is other than before.
    pub(super) fn show(&mut self, seen: &Seen) {
        let words = seen.in_words();
        if words == self.shown {
            return;
        }
        match &self.bar {
            Some(bar) => {
                let decided = seen.converged() + seen.failed();
                bar.set_length(decided + seen.undecided());
                bar.set_position(decided);
                bar.set_message(words.clone());
            }
            None => output::say(&format!("{}: {words}", self.what)),
        }
        self.shown = words;
    }

    /// Says something beside it.
    pub(super) fn say(&self, words: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::say(words)),
            None => output::say(words),
        }
    }

    /// Takes it away.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
