//! Follows a byte stream of HTTP/2 frames by their headers (RFC 9113, 4.1). It checks and decodes nothing: h2 does that.

/// The length of a frame's header.
const HEADER_BYTES: usize = 9;

/// The types of frames that matter here (RFC 9113, 6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const CONTINUATION: u8 = 9;

/// The flag of the last frame of a field block.
const END_HEADERS: u8 = 4;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: u8,
    flags: u8,
}

impl FrameHeader {
    /// Whether a field block continues in the next frame.
    pub(super) fn leaves_block_open(self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION) && self.flags & END_HEADERS == 0
    }
}

/// A position in the stream.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The current frame, or the last one.
    current: Option<FrameHeader>,
    /// The bytes that are left of its payload.
    left: usize,
    header: [u8; HEADER_BYTES],
    /// The bytes of the next header that have passed.
    filled: usize,
}

impl Frames {
    /// A stream that begins with so many bytes that are no frame.
    pub(super) fn after(preface: usize) -> Frames {
        Frames { left: preface, ..Frames::default() }
    }

    /// Follows these bytes, and calls `on` with each event.
    pub(super) fn advance(&mut self, mut bytes: &[u8], mut on: impl FnMut(FrameEvent)) {
        loop {
            if self.left > 0 {
                let length = self.left.min(bytes.len());
                self.left -= length;
                bytes = &bytes[length..];
                if self.left > 0 {
                    return;
                }
                self.current.into_iter().for_each(|frame| on(FrameEvent::Ends(frame)));
            }
            let length = (HEADER_BYTES - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + length].copy_from_slice(&bytes[..length]);
            self.filled += length;
            bytes = &bytes[length..];
            if self.filled < HEADER_BYTES {
                return;
            }
            self.filled = 0;
            let [high, middle, low, kind, flags, ..] = self.header;
            self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            let frame = FrameHeader { kind, flags };
            self.current = Some(frame);
            on(FrameEvent::Begins(frame));
            if self.left == 0 {
                on(FrameEvent::Ends(frame));
            }
        }
    }

    /// The frame whose payload is incomplete; `None` inside the preface or a header too.
    pub(super) fn unfinished(&self) -> Option<FrameHeader> {
        self.current.filter(|_| self.left > 0)
    }

    /// Whether the last byte was the last one of a frame.
    pub(super) fn is_between(&self) -> bool {
        self.left == 0 && self.filled == 0
    }
}

/// A boundary of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameEvent {
    /// Its header is complete.
    Begins(FrameHeader),
    /// Its payload is complete.
    Ends(FrameHeader),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0, (payload >> 8) as u8, payload as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER_BYTES + payload, 0xff);
        bytes
    }

    #[test]
    fn frames_are_followed_in_pieces_of_any_size() {
        let bytes =
            [&[b'p'; 24][..], &frame(HEADERS, 0, 300), &frame(CONTINUATION, END_HEADERS, 0), &frame(DATA, 0, 7)];
        let bytes = bytes.concat();
        let known = |size: usize| {
            let (mut frames, mut events) = (Frames::after(24), Vec::new());
            bytes.chunks(size).for_each(|piece| frames.advance(piece, |event| events.push(event)));
            assert!(frames.is_between() && frames.unfinished().is_none(), "{size}");
            events
        };
        let kinds = |events: &[FrameEvent]| {
            let kind = |event: &FrameEvent| match *event {
                FrameEvent::Begins(frame) => (true, frame.kind, frame.leaves_block_open()),
                FrameEvent::Ends(frame) => (false, frame.kind, frame.leaves_block_open()),
            };
            events.iter().map(kind).collect::<Vec<_>>()
        };
        let expected = [(HEADERS, true), (CONTINUATION, false), (DATA, false)];
        let expected: Vec<_> =
            expected.iter().flat_map(|&(kind, open)| [(true, kind, open), (false, kind, open)]).collect();
        for size in [1, 2, 5, 9, 10, 33, bytes.len()] {
            assert_eq!(kinds(&known(size)), expected, "{size}");
        }
    }

    #[test]
    fn an_incomplete_frame_is_known() {
        let mut frames = Frames::default();
        frames.advance(&frame(HEADERS, 0, 10)[..12], |_| {});
        assert!(!frames.is_between() && frames.unfinished().is_some_and(|frame| frame.kind == HEADERS));
        frames.advance(&[0; 7], |_| {});
        assert!(frames.is_between());
        frames.advance(&[0; 4], |_| {});
        assert!(!frames.is_between() && frames.unfinished().is_none());
    }
}
