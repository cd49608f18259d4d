//! Names as block lists of DNS servers hold them, where the name and what lies below it are often two lines in a row.

use super::collect::{Collector, Facts};
use super::declared::Declared;
use super::{classify, classify::Found};
use crate::intel::indicator::{NameScope, TermValue};
use crate::observable::Kind;

/// Makes one indicator of lines that follow each other and block the same name.
#[derive(Default)]
pub(super) struct Names {
    last: Option<(TermValue, u32)>,
}

impl Names {
    /// Takes a name that is blocked: `*.` for the names below it only, `below` for the name and those below it.
    pub(super) fn block(&mut self, name: &str, below: bool, line: u32, collector: &mut Collector) {
        let found = match classify::typed(name, Declared::Of(Kind::Domain)) {
            Ok(Found { value: TermValue::Domain { name, scope }, port: None, .. }) => {
                TermValue::Domain { name, scope: if below { NameScope::AndBelow } else { scope } }
            }
            Ok(_) => return collector.unusable(line, "a name with a port", name),
            Err(reason) => return collector.unusable(line, reason, name),
        };
        if let (Some((TermValue::Domain { name: last, scope: last_scope }, _)), TermValue::Domain { name, scope }) =
            (&mut self.last, &found)
            && last == name
        {
            *last_scope = last_scope.joined(*scope);
            return;
        }
        self.flush(collector);
        self.last = Some((found, line));
    }

    /// Passes on the last name.
    pub(super) fn flush(&mut self, collector: &mut Collector) {
        if let Some((value, line)) = self.last.take() {
            collector.found(value.into(), Facts { line, ..Facts::default() });
        }
    }
}
