//! What a key is: its names, its kind and what holds when nobody sets it.

/// One key of one mode.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file. The flag is the same word with dashes.
    pub name: &'static str,
    /// Its name in the environment.
    pub env: &'static str,
    /// Which values it takes.
    pub kind: Kind,
    /// What holds when no layer sets it.
    pub fallback: Fallback,
    /// Its value is never shown, and may come from a file: `KEY_FILE` beside `KEY`.
    pub secret: bool,
    /// One plain sentence.
    pub help: &'static str,
}

/// Which values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text that is not empty.
    Text,
    /// A path of this machine.
    Path,
    /// An IP address with a port.
    Address,
    /// An absolute `http` or `https` URL without credentials, query or fragment.
    Url,
    /// One of these words, in upper or lower case; the value is the word as it stands here.
    OneOf(&'static [&'static str]),
    /// `true` or `false`, in upper or lower case.
    Bool,
    /// A whole number.
    Number {
        /// The lowest that is accepted.
        min: u64,
        /// The highest that is accepted.
        max: u64,
        /// What is counted, in the plural; empty where a number counts nothing (a port).
        unit: &'static str,
    },
}

/// What holds when no layer sets a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This value, written as in the environment.
    Value(&'static str),
    /// No value.
    None {
        /// What that means, as a short phrase after "default:".
        means: &'static str,
        /// A value that would do, for the example file.
        example: &'static str,
    },
    /// Nothing: the start is refused.
    Required {
        /// A value that would do, for the example file.
        example: &'static str,
    },
}

/// The keys of one mode, which are one table of the file.
#[derive(Debug)]
pub struct Table {
    /// The mode's name, and the table's in the file.
    pub name: &'static str,
    /// What the mode is, as one plain sentence.
    pub help: &'static str,
    /// Its keys, in groups so that two modes can share one.
    pub groups: &'static [&'static [Key]],
}

impl Table {
    /// Every key, in the order in which people read them.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.groups.iter().copied().flatten()
    }

    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }

    /// Every name that the file's table may hold: the keys, and `KEY_file` of the secrets.
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        self.keys().flat_map(|key| {
            let file = key.secret.then(|| key.name_of_file());
            std::iter::once(key.name.to_owned()).chain(file)
        })
    }
}

impl Key {
    /// The flag's name without its dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The name under which the file gives a path to the value instead of the value.
    pub fn name_of_file(&self) -> String {
        format!("{}_file", self.name)
    }

    /// The same for the environment.
    pub fn env_of_file(&self) -> String {
        format!("{}_FILE", self.env)
    }

    /// The same for the flag.
    pub fn flag_of_file(&self) -> String {
        format!("{}-file", self.flag())
    }

    /// What a value must be, to stand after "expected".
    pub fn expected(&self) -> String {
        match self.kind {
            Kind::Text => "a text that is not empty".to_owned(),
            Kind::Path => "a path".to_owned(),
            Kind::Address => {
                "an IP address with a port, such as `0.0.0.0:80` or `[::]:80`".to_owned()
            }
            Kind::Url => "an `http` or `https` URL without credentials, query or fragment, such as `https://nebula.example.com`"
                .to_owned(),
            Kind::OneOf(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("one of {}", words.join(", "))
            }
            Kind::Bool => "`true` or `false`".to_owned(),
            Kind::Number { min, max, unit } => {
                let of = if unit.is_empty() { "" } else { " of " };
                format!("a whole number{of}{unit} from {min} to {max}")
            }
        }
    }

    /// What is counted, or the shape of the value, for help and the example file.
    pub fn unit(&self) -> String {
        match self.kind {
            Kind::Text => "text".to_owned(),
            Kind::Path => "path".to_owned(),
            Kind::Address => "address:port".to_owned(),
            Kind::Url => "URL".to_owned(),
            Kind::OneOf(words) => words.join(" | "),
            Kind::Bool => "true | false".to_owned(),
            Kind::Number { min, max, unit } => {
                let space = if unit.is_empty() { "" } else { " " };
                format!("{unit}{space}({min} to {max})")
            }
        }
    }

    /// What holds when nobody sets it, for help and the example file.
    pub fn default_in_words(&self) -> &'static str {
        match self.fallback {
            Fallback::Value(value) => value,
            Fallback::None { means, .. } => means,
            Fallback::Required { .. } => "none, must be set",
        }
    }
}
