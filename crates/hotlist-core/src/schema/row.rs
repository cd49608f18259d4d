//! One row of a schema table: a path of an event, what it holds, what it means.

use crate::observable::Kind;

/// The declared kind of a field. The value may still decide otherwise (an IP literal in a domain field).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// One kind of observable.
    Of(Kind),
    /// A hash whose kind its length decides.
    Hash,
    /// Address, domain, URL, hash or e-mail address, decided per value.
    Auto,
    /// As [`FieldKind::Auto`], and a user name: two schemas with the same path mean different kinds.
    Any,
    /// A distinguished name, of a certificate or a directory: its attributes are read, too.
    DistinguishedName,
    /// Text that is a JSON document, which is read with the same table from its root.
    Json,
    /// Part of a URL and nothing else; [`Field::url_parts`] says which.
    UrlPart,
    /// Known, and not looked up.
    NotRead,
}

impl FieldKind {
    /// Parses the `kind` column; `url@…` and `url?…` are a [`FieldKind::UrlPart`].
    pub fn parse(word: &str) -> Option<FieldKind> {
        match word {
            "hash" => Some(FieldKind::Hash),
            "auto" => Some(FieldKind::Auto),
            "dn" => Some(FieldKind::DistinguishedName),
            "json" => Some(FieldKind::Json),
            "-" => Some(FieldKind::NotRead),
            part if UrlPart::parse(part).is_some() => Some(FieldKind::UrlPart),
            other => Kind::parse(other).map(FieldKind::Of),
        }
    }

    /// The word of the `kind` column.
    pub fn as_str(self) -> &'static str {
        match self {
            FieldKind::Of(kind) => kind.as_str(),
            FieldKind::Hash => "hash",
            FieldKind::Auto => "auto",
            FieldKind::Any => "any",
            FieldKind::DistinguishedName => "dn",
            FieldKind::Json => "json",
            FieldKind::UrlPart => "url part",
            FieldKind::NotRead => "-",
        }
    }
}

/// The part of a URL in a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlPart {
    /// The part after the host, which is at this path: `url@host` in the table.
    After(String),
    /// The query of the URL whose path stands at this path: `url?path` in the table.
    Query(String),
}

impl UrlPart {
    /// Parses the `kind` column.
    pub fn parse(word: &str) -> Option<UrlPart> {
        let after = word.strip_prefix("url@").map(|host| UrlPart::After(host.to_owned()));
        after.or_else(|| word.strip_prefix("url?").map(|path| UrlPart::Query(path.to_owned())))
    }
}

/// A list of named values: each of its elements is an object that holds a name, and a value that is read as a member of that
/// name below the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedList {
    /// The paths of the name inside of an element: `name@Name` in the table.
    pub names: Vec<String>,
    /// The paths of the value: `value@Value` in the table.
    pub values: Vec<String>,
}

impl NamedList {
    /// Adds what a word of the `kind` column says. Returns whether it says something of a list.
    pub fn add(&mut self, word: &str) -> bool {
        let (paths, path) = match (word.strip_prefix("name@"), word.strip_prefix("value@")) {
            (Some(path), _) => (&mut self.names, path),
            (_, Some(path)) => (&mut self.values, path),
            _ => return false,
        };
        if !paths.iter().any(|known| known == path) {
            paths.push(path.to_owned());
        }
        true
    }

    /// Whether nothing is a list of named values.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.values.is_empty()
    }

    /// The words of the `kind` column.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let names = self.names.iter().map(|path| format!("name@{path}"));
        names.chain(self.values.iter().map(|path| format!("value@{path}")))
    }
}

/// The role of a field in its event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// None, or it is not known.
    #[default]
    None,
    /// The side that began the connection or request.
    Initiator,
    /// The side that it was meant for.
    Responder,
    /// The initiator according to a proxy or the client itself (`X-Forwarded-For`).
    Forwarded,
    /// The machine, workload or account that the event is about.
    Asset,
    /// The decision: allowed, denied, unanswered.
    Verdict,
    /// The direction: inbound, outbound.
    Direction,
}

impl Role {
    /// Every role, with the word of the `role` column.
    pub const WORDS: [(&'static str, Role); 7] = [
        ("", Role::None),
        ("initiator", Role::Initiator),
        ("responder", Role::Responder),
        ("forwarded", Role::Forwarded),
        ("asset", Role::Asset),
        ("verdict", Role::Verdict),
        ("direction", Role::Direction),
    ];

    /// Parses the `role` column.
    pub fn parse(word: &str) -> Option<Role> {
        Role::WORDS.iter().find(|(known, _)| *known == word).map(|(_, role)| *role)
    }

    /// The word of the `role` column.
    pub fn as_str(self) -> &'static str {
        Role::WORDS.iter().find(|(_, role)| *role == self).map_or("", |(word, _)| *word)
    }
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The event's own dotted path, e.g. `dns.question.name` or `id.orig_h`.
    pub name: String,
    /// The declared kind.
    pub kind: FieldKind,
    /// The parts of URLs that it is, besides its kind; [`FieldKind::UrlPart`] is nothing else.
    pub url_parts: Vec<UrlPart>,
    /// How its elements are named, if it is a list of named values.
    pub named: NamedList,
    /// The ECS field that it means, when it is another.
    pub ecs: Option<String>,
    /// Its role.
    pub role: Role,
    /// Whether indicators of collections are looked for here.
    pub collection: bool,
    /// Whether indicators of CTI rules are looked for here.
    pub cti: bool,
    /// STIX object paths that mean this field. `a&b` means that both together do (directory and file name).
    pub stix_paths: Vec<String>,
    /// Whether its values are scanned as text, too (`match.text`).
    pub is_text: bool,
    /// The schemas that have this path; none for a field of the configuration.
    pub schemas: Vec<&'static str>,
}

impl Field {
    /// A field of the user's own: checked for collections and CTI rules, without a STIX path.
    pub fn own(name: impl Into<String>, kind: FieldKind) -> Field {
        Field {
            name: name.into(),
            kind,
            url_parts: Vec::new(),
            named: NamedList::default(),
            ecs: None,
            role: Role::None,
            collection: true,
            cti: true,
            stix_paths: Vec::new(),
            is_text: false,
            schemas: Vec::new(),
        }
    }

    /// The ECS field that it means: another, or its own name.
    pub fn meaning(&self) -> &str {
        self.ecs.as_deref().unwrap_or(&self.name)
    }

    /// The field of ECS that it means, or is.
    pub fn meaning_in_ecs(&self) -> Option<&str> {
        let is_ecs = self.schemas.iter().any(|schema| schema.starts_with("ecs"));
        self.ecs.as_deref().or_else(|| is_ecs.then_some(self.name.as_str()))
    }

    /// What the `kind` column has for it, without [`Field::named`].
    pub fn kind_word(&self) -> String {
        let parts = self.url_parts.iter().map(|part| match part {
            UrlPart::After(host) => format!("url@{host}"),
            UrlPart::Query(path) => format!("url?{path}"),
        });
        let own = (self.kind != FieldKind::UrlPart).then(|| self.kind.as_str().to_owned());
        own.into_iter().chain(parts).collect::<Vec<_>>().join(" ")
    }

    /// Joins the row of another schema with the same path: what either checks is checked, and what they do not agree on is
    /// left to the value, or not known.
    pub(super) fn join(&mut self, other: Field) {
        self.schemas.extend(other.schemas);
        other.named.words().for_each(|word| {
            self.named.add(&word);
        });
        if other.kind == FieldKind::NotRead && other.role == Role::None {
            // The other schema knows it as nothing to look up; this one has a use for it.
            return;
        }
        match (self.kind, other.kind) {
            (FieldKind::NotRead | FieldKind::UrlPart, kind) => self.kind = kind,
            (_, FieldKind::NotRead | FieldKind::UrlPart) => {}
            (one, two) if one != two => self.kind = FieldKind::Any,
            _ => {}
        }
        for part in other.url_parts {
            if !self.url_parts.contains(&part) {
                self.url_parts.push(part);
            }
        }
        if self.ecs.as_deref().unwrap_or(&self.name) != other.ecs.as_deref().unwrap_or(&other.name) {
            self.ecs = None;
        }
        if self.role != other.role {
            self.role = Role::None;
        }
        self.collection |= other.collection;
        self.cti |= other.cti;
        self.is_text |= other.is_text;
        for path in other.stix_paths {
            if !self.stix_paths.contains(&path) {
                self.stix_paths.push(path);
            }
        }
    }
}
