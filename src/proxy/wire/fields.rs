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
    name: Span,
    value: Span,
}

impl Span {
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
}

impl Fields {
    /// Of a head whose lines were checked.
    pub(super) fn new(mut head: BytesMut, places: Vec<FieldPlace>) -> Fields {
        for place in &places {
            head[place.name.range()].make_ascii_lowercase();
        }
        Fields { head, places }
    }

    /// Each line's name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.places.iter().map(|place| (&self.head[place.name.range()], &self.head[place.value.range()]))
    }

    /// The value of the first line with this name, in lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The values of all lines with this name, in lower case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(move |(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }

    /// Whether there is a line with this name, in lower case.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Length of the whole head, in bytes.
    pub fn head_length(&self) -> usize {
        self.head.len()
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
        Fields::new(head, places)
    }
}
