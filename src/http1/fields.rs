//! The field lines of one message, as places in the bytes of its head: forwarding needs no map, only one pass over the lines.
//! Names are in lower case, values without the white space around them. Nothing is checked here: the parsers check each line
//! before they add it.

use std::ops::Range;

use bytes::BytesMut;

/// The field lines of a head, in their order.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    head: BytesMut,
    places: Vec<FieldPlace>,
    lengths: NameLengths,
}

/// The lengths of a head's names, one bit for each: most looked-up names are absent, and then no line is compared.
#[derive(Clone, Copy, Debug, Default)]
struct NameLengths(u64);

impl NameLengths {
    fn note(&mut self, name: Span) {
        self.0 |= NameLengths::bit(name.len());
    }

    /// Whether a name has this length.
    fn may_have(self, name: &str) -> bool {
        self.0 & NameLengths::bit(name.len()) != 0
    }

    /// All long names share a bit.
    fn bit(length: usize) -> u64 {
        1 << length.min(63)
    }
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
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) capitals: Capitals,
}

/// The places of the capital letters in a received name, one bit for each of its first 64 characters: names are compared in lower
/// case, and forwarded as they were received. Behind the 64th character they are forwarded in lower case.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Capitals(u64);

impl Capitals {
    /// Notes a capital letter.
    #[inline]
    pub(super) fn note(&mut self, place: usize, is_capital: bool) {
        if place < 64 {
            self.0 |= u64::from(is_capital) << place;
        }
    }

    /// Notes capital letters from `place` on, below 64, with a bit for each.
    #[inline]
    pub(super) fn note_all(&mut self, place: usize, capitals: u64) {
        self.0 |= capitals << place;
    }

    /// Changes the case of these letters of a name.
    #[inline]
    pub(super) fn switch_case(self, name: &mut [u8]) {
        let mut left = self.0;
        while left != 0 {
            name[left.trailing_zeros() as usize] ^= 0x20;
            left &= left - 1;
        }
    }
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

    fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// As a range of indices.
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl FieldPlace {
    /// The places of a line of `head`.
    pub(super) fn of(name: &[u8], value: &[u8], head: &[u8]) -> FieldPlace {
        let mut capitals = Capitals::default();
        name.iter().enumerate().for_each(|(place, byte)| capitals.note(place, byte.is_ascii_uppercase()));
        FieldPlace { name: Span::of(name, head), value: Span::of(value, head), capitals }
    }

    /// Converts the name to lower case; to be called once.
    pub(super) fn lower_name(self, head: &mut [u8]) {
        let name = &mut head[self.name.range()];
        self.capitals.switch_case(name);
        if name.len() > 64 {
            name.make_ascii_lowercase();
        }
    }

    pub(super) fn name(self, head: &[u8]) -> &[u8] {
        &head[self.name.range()]
    }

    pub(super) fn value(self, head: &[u8]) -> &[u8] {
        &head[self.value.range()]
    }

    /// The whole line, if `head` contains it in the form in which `encode` would write it.
    fn plain_line(self, head: &[u8]) -> Option<&[u8]> {
        let (start, end) = (self.name.start as usize, self.value.end as usize);
        let between = head.get(self.name.end as usize..self.value.start as usize)?;
        let line = head.get(start..end + 2)?;
        (between == b": " && line.ends_with(b"\r\n")).then_some(line)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct FieldLine<'a> {
    /// Its name, in lower case.
    pub name: &'a [u8],
    head: &'a [u8],
    place: FieldPlace,
}

impl<'a> FieldLine<'a> {
    /// Its value, without the white space around it.
    pub fn value(&self) -> &'a [u8] {
        self.place.value(self.head)
    }

    /// The whole line, if it was received as `name: value` with CR LF behind it: then it can be copied.
    pub(super) fn plain(&self) -> Option<&'a [u8]> {
        self.place.plain_line(self.head)
    }

    /// The capital letters of the name as it was received.
    pub(super) fn capitals(&self) -> Capitals {
        self.place.capitals
    }
}

impl Fields {
    /// The fields of a head whose lines are checked and whose names are in lower case.
    pub(super) fn new(head: BytesMut, places: Vec<FieldPlace>) -> Fields {
        let mut fields = Fields { places, ..Fields::default() };
        fields.complete(head);
        fields
    }

    /// The places, while the head is parsed.
    pub(super) fn places_mut(&mut self) -> &mut Vec<FieldPlace> {
        &mut self.places
    }

    /// Takes the bytes to which the places belong.
    pub(super) fn complete(&mut self, head: BytesMut) {
        self.head = head;
        self.places.iter().for_each(|place| self.lengths.note(place.name));
    }

    /// Each line, with its name and value.
    pub fn lines(&self) -> impl Iterator<Item = FieldLine<'_>> {
        self.places.iter().map(|place| FieldLine { name: place.name(&self.head), head: &self.head, place: *place })
    }

    /// The value of the first line with this name, in lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The values of all lines with this name, in lower case.
    pub(crate) fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &[u8]> {
        let places = if self.lengths.may_have(name) { &self.places[..] } else { &[] };
        // The length first: it is cheaper to compare.
        let named =
            move |place: &&FieldPlace| place.name.len() == name.len() && self.bytes(place.name) == name.as_bytes();
        places.iter().filter(named).map(|place| self.bytes(place.value))
    }

    /// Whether there is a line with this name, in lower case.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
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
        self.places.clear();
        self.lengths = NameLengths::default();
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
        let (mut head, mut places) = (BytesMut::new(), Vec::new());
        let mut append = |bytes: &[u8]| {
            let start = head.len() as u32;
            head.extend_from_slice(bytes);
            Span { start, end: head.len() as u32 }
        };
        for (name, value) in lines {
            let (name, value) = (append(name.as_ref().as_bytes()), append(value.as_ref()));
            places.push((name, value));
        }
        let place = |(name, value): &(Span, Span)| FieldPlace::of(&head[name.range()], &head[value.range()], &head);
        let places: Vec<FieldPlace> = places.iter().map(place).collect();
        places.iter().for_each(|place| place.lower_name(&mut head));
        Fields::new(head, places)
    }
}
