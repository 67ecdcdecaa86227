//! The field lines of one message, where they lie in the bytes of its head: a forwarded message needs no map of them, only
//! one look at each. Names are in lower case, values without the white space around them. It judges nothing: whoever makes
//! one has checked the lines.

use std::ops::Range;

use bytes::BytesMut;

/// The field lines of a head, in their order.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    head: BytesMut,
    places: Vec<FieldPlace>,
    lengths: NameLengths,
}

/// How long the names of a head are, one bit a length: most names that are asked for are absent, and then no line need be
/// looked at.
#[derive(Clone, Copy, Debug, Default)]
struct NameLengths(u64);

impl NameLengths {
    fn note(&mut self, name: Span) {
        self.0 |= NameLengths::bit(name.len());
    }

    /// False when no name has this length.
    fn may_have(self, name: &str) -> bool {
        self.0 & NameLengths::bit(name.len()) != 0
    }

    /// All long names share a bit.
    fn bit(length: usize) -> u64 {
        1 << length.min(63)
    }
}

/// Where something lies in the bytes of a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

/// Where a field's name and value lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldPlace {
    pub name: Span,
    pub value: Span,
}

impl Span {
    /// From `start` to before `end`; `None` beyond 4 GiB.
    pub(super) fn new(start: usize, end: usize) -> Option<Span> {
        Some(Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
    }

    /// The place of `part`, which is a piece of `head`.
    ///
    /// # Panics
    /// When it is none, or lies beyond 4 GiB: no head is as long.
    pub(super) fn of(part: &[u8], head: &[u8]) -> Span {
        // What is empty may point anywhere.
        if part.is_empty() {
            return Span::default();
        }
        let start = part.as_ptr() as usize - head.as_ptr() as usize;
        assert!(start + part.len() <= head.len(), "not a part of the head");
        let narrow = |place: usize| u32::try_from(place).expect("heads are shorter than 4 GiB");
        Span { start: narrow(start), end: narrow(start + part.len()) }
    }

    fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// The same as a range.
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl FieldPlace {
    /// Of a line of `head`.
    pub(super) fn of(name: &[u8], value: &[u8], head: &[u8]) -> FieldPlace {
        FieldPlace { name: Span::of(name, head), value: Span::of(value, head) }
    }

    /// Has the name in lower case.
    pub(super) fn lower_name(self, head: &mut [u8]) {
        head[self.name.range()].make_ascii_lowercase();
    }

    /// Name and value.
    pub(super) fn of_head(self, head: &[u8]) -> (&[u8], &[u8]) {
        (&head[self.name.range()], &head[self.value.range()])
    }

    /// The whole line, when it lies in `head` just as it would be written anew.
    fn plain_line(self, head: &[u8]) -> Option<&[u8]> {
        let (start, end) = (self.name.start as usize, self.value.end as usize);
        let between = head.get(self.name.end as usize..self.value.start as usize)?;
        let line = head.get(start..end + 2)?;
        (between == b": " && line.ends_with(b"\r\n")).then_some(line)
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub struct FieldLine<'a> {
    /// Its name, in lower case.
    pub name: &'a [u8],
    /// Its value, without the white space around it.
    pub value: &'a [u8],
    /// Both with `: ` between them and CR LF behind, if that is how the line came: then it can be copied whole.
    pub plain: Option<&'a [u8]>,
}

impl Fields {
    /// Of a head whose lines were checked, and whose names are in lower case.
    pub(super) fn new(head: BytesMut, places: Vec<FieldPlace>) -> Fields {
        let mut fields = Fields { places, ..Fields::default() };
        fields.complete(head);
        fields
    }

    /// The places, while the head is read.
    pub(super) fn places_mut(&mut self) -> &mut Vec<FieldPlace> {
        &mut self.places
    }

    /// Takes the head in which the places are.
    pub(super) fn complete(&mut self, head: BytesMut) {
        self.head = head;
        self.places.iter().for_each(|place| self.lengths.note(place.name));
    }

    /// Each line, with its name and value.
    pub fn lines(&self) -> impl Iterator<Item = FieldLine<'_>> {
        self.places.iter().map(|place| {
            let (name, value) = place.of_head(&self.head);
            FieldLine { name, value, plain: place.plain_line(&self.head) }
        })
    }

    /// The value of the first line with this name, in lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The values of all lines with this name, in lower case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let places = if self.lengths.may_have(name) { &self.places[..] } else { &[] };
        // The length first: it costs less than to go and look.
        let named =
            move |place: &&FieldPlace| place.name.len() == name.len() && self.bytes(place.name) == name.as_bytes();
        places.iter().filter(named).map(|place| self.bytes(place.value))
    }

    /// Whether there is a line with this name, in lower case.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Length of the whole head, in bytes.
    pub fn head_length(&self) -> usize {
        self.head.len()
    }

    /// What held the head, and fields with room for those of another one; both empty.
    pub(super) fn clear(self) -> (BytesMut, Fields) {
        let Fields { mut head, mut places, .. } = self;
        head.clear();
        places.clear();
        (head, Fields { places, ..Fields::default() })
    }

    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        &self.head[span.range()]
    }
}

#[cfg(test)]
impl Fields {
    /// Of these lines, for tests.
    pub fn of_lines<N: AsRef<str>, V: AsRef<[u8]>>(lines: &[(N, V)]) -> Fields {
        let (mut head, mut places) = (BytesMut::new(), Vec::new());
        let mut append = |bytes: &[u8]| {
            let start = head.len() as u32;
            head.extend_from_slice(bytes);
            Span { start, end: head.len() as u32 }
        };
        for (name, value) in lines {
            places.push(FieldPlace { name: append(name.as_ref().as_bytes()), value: append(value.as_ref()) });
        }
        places.iter().for_each(|place| place.lower_name(&mut head));
        Fields::new(head, places)
    }
}
