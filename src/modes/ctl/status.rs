//! `apps status` and `device-groups status`.

use super::failure::Failure;
use super::nouns::About;
use super::output;
use super::rollout::{Seen, Unseen, look};
use super::session::Session;
use clap::Args;
use std::io::IsTerminal as _;
use std::time::Duration;

/// How often is looked.
const EACH: Duration = Duration::from_secs(2);
/// Clears a terminal and puts the cursor at its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Whether to go on looking.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Go on, and show it anew whenever it changes, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

impl Watch {
    pub(super) async fn run(self, session: &Session, about: About<'_>) -> Result<(), Failure> {
        let clears = self.watch && session.output().is_table() && std::io::stdout().is_terminal();
        let mut shown: Option<Seen> = None;
        let mut is_away = false;
        loop {
            match look(session, about).await {
                Ok((reply, seen)) if shown.as_ref() != Some(&seen) => {
                    let between = match (clears, &shown) {
                        (true, _) => CLEAR,
                        (false, Some(_)) => "\n",
                        (false, None) => "",
                    };
                    session
                        .output()
                        .reply(&reply, |_| format!("{between}{}", seen.shown(about)))?;
                    shown = Some(seen);
                    is_away = false;
                }
                Ok(_) => is_away = false,
                Err(Unseen::ForNow(error)) if shown.is_some() => {
                    if !is_away {
                        output::say(&format!(
                            "{}; trying on",
                            output::printable(&error.to_string())
                        ));
                    }
                    is_away = true;
                }
                Err(Unseen::ForNow(error)) => return Err(session.explain(&error)),
                Err(Unseen::ForGood(failure)) => return Err(failure),
            }
            if !self.watch {
                return Ok(());
            }
            tokio::time::sleep(EACH).await;
        }
    }
}
