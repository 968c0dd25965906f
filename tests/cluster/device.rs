//! A device as its worker takes answers: a higher revision at once, a lower one when it has been
//! repeated for long enough.

use nebula::model::{Desired, Revision};
use nebula::reconcile::{Acceptance, judge};
use serde_json::Value;
use std::time::{Duration, Instant};

#[derive(Default)]
pub(crate) struct Device {
    accepted: Option<Revision>,
    older_since: Option<Instant>,
    /// The answer that it acts on.
    pub(crate) desired: Value,
    /// How many answers it was given and did not act on.
    pub(crate) held: usize,
}

impl Device {
    /// Takes a complete answer.
    pub(crate) fn take(&mut self, answer: &Value) {
        let answered = Desired::decode(answer.to_string().as_bytes()).unwrap().revision;
        let older_for = self.older_since.map_or(Duration::ZERO, |since| since.elapsed());
        match judge(self.accepted, answered, u64::try_from(older_for.as_millis()).unwrap()) {
            Acceptance::Accept => {
                self.older_since = None;
                self.accepted = answered;
                self.desired = answer.clone();
            }
            Acceptance::KeepNewer => {
                self.older_since.get_or_insert_with(Instant::now);
                self.held += 1;
            }
        }
    }
}

/// The number under which tests write an env value of an app in an answer; zero when the app is
/// not there.
pub(crate) fn number(info: &Value, app: &str, key: &str) -> u64 {
    let apps = info["apps"].as_array().expect("apps");
    let app = apps.iter().find(|found| found["app_name"] == app);
    let text = app.and_then(|app| app["env_vars"][key].as_str()).unwrap_or("0");
    text.parse().expect("a number")
}

/// The revision of an answer.
pub(crate) fn revision(info: &Value) -> u64 {
    info["revision"].as_u64().expect("a revision")
}
