//! The changes: each an update of an app of one group, in turn, or of one that all groups have.

use super::super::session::Session;
use super::Shared;
use super::flags::Simulate;
use super::fleet::{self, Fleet};
use super::group::{Change, Group};
use crate::client::Noun;
use crate::model::Revision;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The changes of one run.
pub(super) struct Changes<'a> {
    session: &'a Session,
    shared: &'a Shared,
    fleet: Fleet,
    count: usize,
    every: Duration,
    apps_per_group: usize,
    is_for_all: bool,
    duration: Option<Duration>,
    /// How many were answered with 2xx.
    pub(super) made: usize,
    /// Why others were not.
    pub(super) failed: Vec<String>,
    /// How many times a device should have been told of one.
    pub(super) deliveries: usize,
}

impl<'a> Changes<'a> {
    pub(super) fn new(simulate: &Simulate, session: &'a Session, shared: &'a Shared) -> Self {
        Self {
            session,
            shared,
            fleet: Fleet::of(simulate),
            count: simulate.changes(),
            every: simulate.change_every,
            apps_per_group: simulate.apps_per_group,
            is_for_all: simulate.change_all,
            duration: simulate.duration,
            made: 0,
            failed: Vec::new(),
            deliveries: 0,
        }
    }

    /// Makes them all, one after the other, at their times.
    pub(super) async fn make(&mut self) {
        let start = Instant::now();
        let mut next = start;
        for number in 0..self.count {
            if self.duration.is_some_and(|duration| next > start + duration) {
                break;
            }
            sleep_until(next).await;
            self.change(number).await;
            next += self.every;
        }
        if let Some(duration) = self.duration {
            sleep_until(start + duration).await;
        }
    }

    async fn change(&mut self, number: usize) {
        let all = &self.shared.groups;
        let turn = number % all.len();
        let (app, groups): (String, &[Group]) = if self.is_for_all {
            (self.fleet.shared_app(), all)
        } else {
            let app = (number / all.len()) % self.apps_per_group;
            (self.fleet.app(turn, app), &all[turn..=turn])
        };
        for group in groups {
            group.begin();
        }
        let sent = Instant::now();
        let body = fleet::change(number + 1);
        let reply = self.session.client().update(Noun::App, &app, &body).await;
        let answered = Instant::now();
        let revision = match &reply {
            Ok(reply) => reply.content.get("revision").and_then(Value::as_u64).map(Revision),
            Err(_) => None,
        };
        let change = revision.map(|revision| Change { revision, sent, answered });
        for group in groups {
            group.end(change, &self.shared.figures);
        }
        match (change, reply) {
            (Some(_), _) => {
                self.shared.figures.changed(answered - sent);
                self.made += 1;
                self.deliveries += groups.iter().map(Group::devices).sum::<usize>();
            }
            (None, Ok(_)) => self.failed.push("the manager gives no revisions".to_owned()),
            (None, Err(error)) => self.failed.push(error.to_string()),
        }
    }
}
