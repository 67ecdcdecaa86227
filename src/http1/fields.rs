//! The field lines of one message, as places in the bytes of its head: forwarding needs no map, only one pass over the lines.
//! Names are as received, and recognised once; values without the white space around them. Nothing is checked here: the parsers
//! check each line before they add it.

use std::ops::Range;

use bytes::BytesMut;

use super::known_names::{KnownName, NameSet};

/// The field lines of a head, in their order.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    head: BytesMut,
    places: Places,
}

/// The places of a head's lines, while it is parsed and afterwards.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    lines: Vec<FieldPlace>,
    /// Their names: most looked-up names are absent, and then no line is compared.
    names: NameSet,
}

/// A range of a head's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

/// The places of a field's name and value.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldPlace {
    pub(super) name: Span,
    pub(super) value: Span,
    pub(super) known: KnownName,
    /// Whether the line is `name: value` with CR LF behind it, as `encode` would write it: then it can be copied.
    pub(super) is_plain: bool,
}

impl Span {
    /// A range below 4 GiB.
    #[inline]
    pub(super) fn narrow(range: Range<usize>) -> Span {
        Span { start: range.start as u32, end: range.end as u32 }
    }

    /// The place of `part`, a subslice of `head`.
    ///
    /// # Panics
    /// If it is not one, or lies beyond 4 GiB: heads are shorter.
    pub(super) fn of(part: &[u8], head: &[u8]) -> Span {
        // An empty slice may point anywhere.
        if part.is_empty() {
            return Span::default();
        }
        let start = part.as_ptr() as usize - head.as_ptr() as usize;
        assert!(start + part.len() <= head.len(), "not a part of the head");
        let narrow = |place: usize| u32::try_from(place).expect("heads are shorter than 4 GiB");
        Span { start: narrow(start), end: narrow(start + part.len()) }
    }

    /// As a range of indices.
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Places {
    /// No places yet, with room for some.
    pub(super) fn with_room(lines: usize) -> Places {
        Places { lines: Vec::with_capacity(lines), ..Places::default() }
    }

    pub(super) fn reserve(&mut self, lines: usize) {
        self.lines.reserve(lines);
    }

    #[inline]
    pub(super) fn push(&mut self, place: FieldPlace) {
        self.names.note(place.known);
        self.lines.push(place);
    }

    pub(super) fn lines(&self) -> &[FieldPlace] {
        &self.lines
    }
}

impl FieldPlace {
    /// The places of a line of `head`.
    pub(super) fn of(name: &[u8], value: &[u8], head: &[u8]) -> FieldPlace {
        FieldPlace {
            name: Span::of(name, head),
            value: Span::of(value, head),
            known: KnownName::of(name),
            is_plain: false,
        }
    }

    pub(super) fn name(self, head: &[u8]) -> &[u8] {
        &head[self.name.range()]
    }

    pub(super) fn value(self, head: &[u8]) -> &[u8] {
        &head[self.value.range()]
    }
}

#[derive(Clone, Copy, Debug)]
pub struct FieldLine<'a> {
    head: &'a [u8],
    place: FieldPlace,
}

impl<'a> FieldLine<'a> {
    /// Its name, as received.
    pub fn name(&self) -> &'a [u8] {
        self.place.name(self.head)
    }

    /// Its name, as recognised.
    pub(crate) fn known(&self) -> KnownName {
        self.place.known
    }

    /// Its value, without the white space around it.
    pub fn value(&self) -> &'a [u8] {
        self.place.value(self.head)
    }

    /// The place of the whole line, if it was received as `name: value` with CR LF behind it: then it can be copied.
    pub(super) fn plain(&self) -> Option<Range<usize>> {
        let FieldPlace { name, value, is_plain, .. } = self.place;
        is_plain.then_some(name.start as usize..value.end as usize + 2)
    }
}

impl Fields {
    /// The fields of a head whose lines are checked.
    pub(super) fn new(head: BytesMut, places: Places) -> Fields {
        Fields { head, places }
    }

    /// The places, while the head is parsed.
    pub(super) fn places_mut(&mut self) -> &mut Places {
        &mut self.places
    }

    /// Takes the bytes to which the places belong.
    pub(super) fn complete(&mut self, head: BytesMut) {
        self.head = head;
    }

    /// Each line, with its name and value.
    pub fn lines(&self) -> impl Iterator<Item = FieldLine<'_>> {
        self.places.lines.iter().map(|place| FieldLine { head: &self.head, place: *place })
    }

    /// The value of the first line with this name, in any case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The values of all lines with this name, in any case. A known name is found faster by [`values_of`](Self::values_of).
    pub(crate) fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &[u8]> {
        let known = KnownName::of(name.as_bytes());
        let has_name = move |line: &FieldLine<'_>| known.is_one() || line.name().eq_ignore_ascii_case(name.as_bytes());
        self.lines_of(known).filter(has_name).map(|line| line.value())
    }

    /// The values of all lines with this name, which is neither `Other` nor `Unusual`.
    pub(crate) fn values_of(&self, name: KnownName) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.lines_of(name).map(|line| line.value())
    }

    /// The values of all lines with this name, in any case; it is none of the known ones.
    pub(crate) fn values_of_other(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let has_name = |line: &FieldLine<'_>| line.name().eq_ignore_ascii_case(name.as_bytes());
        self.lines_of(KnownName::Other).filter(has_name).map(|line| line.value())
    }

    fn lines_of(&self, name: KnownName) -> impl DoubleEndedIterator<Item = FieldLine<'_>> {
        let places = if self.has(name) { &self.places.lines[..] } else { &[] };
        let named = places.iter().filter(move |place| place.known == name);
        named.map(|place| FieldLine { head: &self.head, place: *place })
    }

    /// Whether there is a line with this name.
    #[inline]
    pub(crate) fn has(&self, name: KnownName) -> bool {
        self.places.names.has(name)
    }

    /// Whether there is a line with this name, in any case.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The whole head.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The length of the whole head, in bytes.
    pub(crate) fn head_length(&self) -> usize {
        self.head.len()
    }

    /// The first line of the head, without its line end.
    pub(super) fn first_line(&self) -> &[u8] {
        let head = self.without_empty_lines();
        let line = memchr::memchr(b'\n', head).map_or(head, |end| &head[..end]);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// The head without the empty lines before it.
    pub(super) fn without_empty_lines(&self) -> &[u8] {
        self.head.trim_ascii_start()
    }

    /// Removes all lines but keeps the room for their places, and returns the emptied buffer of the head.
    pub(super) fn clear(&mut self) -> BytesMut {
        self.places.lines.clear();
        self.places.names = NameSet::default();
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        head
    }

    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        &self.head[span.range()]
    }
}

#[cfg(test)]
impl Fields {
    /// Fields with these lines, for tests.
    pub(crate) fn of_lines<N: AsRef<str>, V: AsRef<[u8]>>(lines: &[(N, V)]) -> Fields {
        let (mut head, mut spans) = (BytesMut::new(), Vec::new());
        let mut append = |bytes: &[u8]| {
            let start = head.len() as u32;
            head.extend_from_slice(bytes);
            Span { start, end: head.len() as u32 }
        };
        for (name, value) in lines {
            spans.push((append(name.as_ref().as_bytes()), append(value.as_ref())));
        }
        let mut places = Places::default();
        for (name, value) in spans {
            places.push(FieldPlace::of(&head[name.range()], &head[value.range()], &head));
        }
        Fields::new(head, places)
    }
}
