//! The flags of a list of names.
//!
//! `--app NAME` gives the whole list anew; `--add-app` and `--remove-app` change it and keep the
//! others; `--no-apps` empties it. They are built by hand and not derived, so that six lists have
//! one code and one wording.

use super::lists::{Change, Entry, List};
use crate::client::Object;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use std::marker::PhantomData;

/// A list as a type, so that clap's structs can hold its flags.
pub(super) trait Listed {
    /// The list.
    const LIST: &'static List;
}

/// The flag of a list of something new.
#[derive(Debug)]
pub(super) struct NewList<L> {
    entries: Vec<Entry>,
    list: PhantomData<L>,
}

/// The flags that change a list.
#[derive(Debug)]
pub(super) struct ListChange<L> {
    change: Change,
    list: PhantomData<L>,
}

impl List {
    fn set(&self) -> String {
        self.flag.to_owned()
    }

    fn add(&self) -> String {
        format!("add-{}", self.flag)
    }

    fn remove(&self) -> String {
        format!("remove-{}", self.flag)
    }

    fn clear(&self) -> String {
        format!("no-{}", self.plural)
    }

    /// A flag that takes entries, repeated for more.
    fn entries_flag(&'static self, name: String, help: String) -> Arg {
        let value_name = if self.grants { "NAME=ro|rw" } else { "NAME" };
        Arg::new(name.clone())
            .long(name)
            .value_name(value_name)
            .action(ArgAction::Append)
            .value_parser(move |text: &str| self.entry(text))
            .help(help)
    }
}

impl<L: Listed> NewList<L> {
    /// Puts the list into the body of something new.
    pub(super) fn put(self, body: &mut Object) {
        body.insert(L::LIST.field.to_owned(), L::LIST.value(self.entries));
    }
}

impl<L> ListChange<L> {
    /// The change, whatever the list.
    pub(super) fn change(self) -> Change {
        self.change
    }
}

impl<L: Listed> Args for NewList<L> {
    fn augment_args(command: Command) -> Command {
        command.arg(L::LIST.entries_flag(L::LIST.set(), L::LIST.help_new.to_owned()))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<L: Listed> FromArgMatches for NewList<L> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { entries: given(matches, &L::LIST.set()), list: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<L: Listed> Args for ListChange<L> {
    fn augment_args(command: Command) -> Command {
        let list = L::LIST;
        let (set, add, remove, clear) = (list.set(), list.add(), list.remove(), list.clear());
        let article = if list.one.starts_with(['a', 'e', 'i', 'o']) { "An" } else { "A" };
        let (one, plural) = (list.one, list.plural.replace('-', " "));
        let (to_set, to_add, to_clear) = if list.grants {
            (
                format!("{article} {one} of the new list of grants; repeat for more"),
                format!("{article} {one} to grant access to, or to change the access to"),
                format!("Grant no access to {plural}"),
            )
        } else {
            (
                format!("{article} {one} of the new list; repeat for more"),
                format!("{article} {one} to add"),
                format!("Take out all {plural}"),
            )
        };
        command
            .arg(list.entries_flag(set.clone(), to_set))
            .arg(list.entries_flag(add.clone(), to_add).conflicts_with(set.clone()))
            .arg(
                Arg::new(remove.clone())
                    .long(remove.clone())
                    .value_name("NAME")
                    .action(ArgAction::Append)
                    .conflicts_with(set.clone())
                    .help(list.help_remove),
            )
            .arg(
                Arg::new(clear.clone())
                    .long(clear)
                    .action(ArgAction::SetTrue)
                    .conflicts_with_all([set, add, remove])
                    .help(to_clear),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<L: Listed> FromArgMatches for ListChange<L> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let list = L::LIST;
        let change = Change {
            list,
            set: given(matches, &list.set()),
            add: given(matches, &list.add()),
            remove: given(matches, &list.remove()),
            clear: matches.get_flag(&list.clear()),
        };
        Ok(Self { change, list: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn given<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, flag: &str) -> Vec<T> {
    matches.get_many(flag).into_iter().flatten().cloned().collect()
}
