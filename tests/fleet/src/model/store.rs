//! The store of the model: keys with marks, compare-and-set, and writes that land late.

use super::mutants::Mutant;
use crate::policy::fleet::words::{Entry, Id, Op, OpEnd, Record, View, Word};
use crate::policy::flip::Brief;
use crate::policy::mode::Mode;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) record: Record,
    pub(super) token: i64,
    /// The records of all revisions, from 1.
    pub(super) journal: Vec<Record>,
    /// By node.
    pub(super) entries: Vec<Option<(Entry, i64)>>,
    /// The last mark of each. Marks are compared for equality only, so each key counts its own.
    marks: Vec<i64>,
    /// It is a copy of an earlier time, under another identity or under the same.
    pub(super) restored: Option<bool>,
}

impl Store {
    pub(super) fn new(nodes: usize, attempt: Id) -> Store {
        let brief = Brief { revision: 1, mode: Mode::Production, switching: false };
        let record = Record { brief, attempt, failure: None, on_timeout: Default::default(), force: false };
        Store {
            record,
            token: 1,
            journal: vec![record],
            entries: vec![None; nodes],
            marks: vec![0; nodes],
            restored: None,
        }
    }

    pub(super) fn view(&self, node: usize, journal: Option<u64>, roster: bool) -> View {
        let others = self.entries.iter().enumerate().filter(|(other, _)| *other != node);
        View {
            is_home: self.restored != Some(true),
            record: self.record,
            token: self.token,
            own: self.entries[node],
            others: roster.then(|| others.filter_map(|(_, entry)| entry.map(|(entry, _)| entry)).collect()),
            journal: journal.and_then(|revision| self.journal.get(revision as usize - 1).copied()),
        }
    }

    /// Performs an operation of a node.
    pub(super) fn perform(&mut self, node: usize, op: &Op, mutant: Mutant) -> Result<OpEnd, String> {
        let mark = self.entries[node].map_or(0, |(_, token)| token);
        match *op {
            Op::Read { journal, roster } => {
                let roster = roster || mutant == Mutant::UsesAnOldRoster;
                Ok(OpEnd::Read(self.view(node, journal, roster)))
            }
            Op::Save { tried, own, .. } => {
                if (tried.token != self.token || own != mark) && mutant != Mutant::SavesWithoutComparing {
                    return Ok(OpEnd::Conflict);
                }
                if self.restored.is_none() {
                    self.is_sound(&tried.record)?;
                }
                (self.record, self.token) = (tried.record, self.token + 1);
                self.journal.push(tried.record);
                Ok(OpEnd::Done(self.token))
            }
            Op::PutEntry { entry, token } => {
                if token != mark {
                    return Ok(OpEnd::Conflict);
                }
                self.marks[node] += 1;
                self.entries[node] = Some((entry, self.marks[node]));
                Ok(OpEnd::Done(self.marks[node]))
            }
            Op::DeleteEntry { token } => {
                if token != mark {
                    return Ok(OpEnd::Conflict);
                }
                self.entries[node] = None;
                Ok(OpEnd::Done(mark))
            }
        }
    }

    fn is_sound(&self, next: &Record) -> Result<(), String> {
        if next.brief.revision != self.record.brief.revision + 1 {
            return Err(format!("{next:?} does not follow {:?}", self.record));
        }
        let revision = self.record.brief.revision;
        let settles = self.record.brief.switching && next.failure.is_none();
        let acks = self.entries.iter().flatten().filter_map(|(entry, _)| entry.ack);
        let mut words = acks.filter(|ack| ack.revision == revision).map(|ack| ack.word);
        if settles && next.brief.mode == Mode::Production && !words.any(|word| word == Word::InMode) {
            return Err("production settles with no member in it".to_owned());
        }
        Ok(())
    }
}
