//! Where each request begins and ends in a client's stream, and whether its framing can be read in one way only. Pure:
//! it is fed bytes and keeps no copy of them.

use super::chunks::{ChunkEvent, Chunks};
use super::fault::WireFault;
use super::head::{Framing, Head, Trailers};

/// How large a head may be. hyper's own limits must not be below these: `max_buf_size` ≥ `head_bytes`, `max_headers` ≥
/// `header_count`; a target can never exceed 65,534 bytes there.
#[derive(Clone, Copy, Debug)]
pub struct WireLimits {
    /// Longest request target, in bytes; beyond it 414.
    pub target_bytes: usize,
    /// Longest head with its final empty line, in bytes; beyond it 431.
    pub head_bytes: usize,
    /// Most header lines of a head, and of trailers; beyond it 431.
    pub header_count: usize,
}

/// The verdict on the bytes that were not passed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// So many bytes (at least one) are good: pass them on, then ask again with what follows.
    Pass(usize),
    /// More bytes are needed before these can be judged: keep them and ask again with more.
    Hold,
    /// Nothing from here on may be passed.
    Fault(WireFault),
}

/// Follows one client's stream from request to request.
#[derive(Clone, Debug)]
pub struct Scanner {
    limits: WireLimits,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Head(Head),
    Body(u64),
    Chunks(Chunks),
    Trailers(Trailers),
    Failed { fault: WireFault, in_head: bool },
}

impl Scanner {
    /// A scanner at the beginning of a connection.
    pub fn new(limits: WireLimits) -> Scanner {
        Scanner { limits, place: Place::Head(Head::default()) }
    }

    /// Judges `bytes`, which begin where the last [`Scan::Pass`] ended: after [`Scan::Hold`] the same bytes with more
    /// behind them. A fault is final.
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        if bytes.is_empty() {
            return Scan::Hold;
        }
        match &mut self.place {
            Place::Head(head) => match head.advance(bytes, &self.limits) {
                Ok(None) => Scan::Hold,
                Ok(Some((length, framing))) => {
                    self.place = match framing {
                        Framing::Length(0) => Place::Head(Head::default()),
                        Framing::Length(length) => Place::Body(length),
                        Framing::Chunked => Place::Chunks(Chunks::default()),
                    };
                    Scan::Pass(length)
                }
                Err(fault) => self.fail(fault, true),
            },
            Place::Body(left) => {
                let passed = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= passed as u64;
                if *left == 0 {
                    self.place = Place::Head(Head::default());
                }
                Scan::Pass(passed)
            }
            Place::Chunks(chunks) => {
                let (passed, event) = chunks.advance(bytes);
                match event {
                    ChunkEvent::More => {}
                    ChunkEvent::LastChunk => self.place = Place::Trailers(Trailers::default()),
                    ChunkEvent::Fault(fault) if passed == 0 => return self.fail(fault, false),
                    ChunkEvent::Fault(fault) => self.place = Place::Failed { fault, in_head: false },
                }
                Scan::Pass(passed)
            }
            Place::Trailers(trailers) => match trailers.advance(bytes, &self.limits) {
                Ok(None) => Scan::Hold,
                Ok(Some(length)) => {
                    self.place = Place::Head(Head::default());
                    Scan::Pass(length)
                }
                Err(fault) => self.fail(fault, false),
            },
            Place::Failed { fault, .. } => Scan::Fault(*fault),
        }
    }

    /// Whether the next byte belongs to a head (also to one that has not begun).
    pub fn in_head(&self) -> bool {
        matches!(self.place, Place::Head(_) | Place::Failed { in_head: true, .. })
    }

    /// Whether the next byte belongs to a body or its trailers.
    pub fn in_body(&self) -> bool {
        matches!(self.place, Place::Body(_) | Place::Chunks(_) | Place::Trailers(_))
    }

    /// Ends the stream with a fault that the bytes do not show, such as a timeout.
    pub fn fail(&mut self, fault: WireFault, in_head: bool) -> Scan {
        self.place = Place::Failed { fault, in_head };
        Scan::Fault(fault)
    }
}
