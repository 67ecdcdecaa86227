//! Chunked framing up to the last chunk (RFC 9112, 7.1): it parses sizes and extensions, and skips data by count. Trailers
//! are not parsed here. Requests must use the narrow form; responses may use all that the grammar allows, because only their
//! data is forwarded.

use super::error::RequestError;
use super::syntax::is_token;

/// The most bytes of chunk extensions: in the whole body of a request, because extensions are unused and one-byte chunks with
/// long ones are an attack (CVE-2023-39326); in one line of a response, where white space and leading zeros count too.
const EXTENSION_BYTES: u16 = 1024;

/// More digits than these overflow 64 bits.
const SIZE_DIGITS: u8 = 16;

/// The parser of one chunked body.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunks {
    expect: Expect,
    size: u64,
    digits: u8,
    extension_bytes: u16,
    extension: Extension,
    /// Whether white space may follow a size, as some old servers pad it (RFC 9112, 7.1.1), and any number of zeros lead it.
    takes_padding: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    Size,
    /// White space behind the size.
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
}

/// The position in the chunk extensions of a request: `name`, `name=token` or `name="text"`, each after a semicolon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Extension {
    /// A name must begin.
    #[default]
    Name,
    InName,
    /// A value must begin.
    Value,
    InValue,
    Quoted,
    /// After a backslash in a quoted value.
    Escaped,
    /// After the quote that ends a value.
    Closed,
}

impl Extension {
    /// The position behind this byte; `None` if the byte is not allowed here.
    fn after(self, byte: u8) -> Option<Extension> {
        use Extension::{Closed, Escaped, InName, InValue, Name, Quoted, Value};
        match (self, byte) {
            (Quoted, b'"') => Some(Closed),
            (Quoted, b'\\') => Some(Escaped),
            (Quoted | Escaped, _) => Some(Quoted),
            (InName | InValue | Closed, b';') => Some(Name),
            (InName, b'=') => Some(Value),
            (Value, b'"') => Some(Quoted),
            (Name | InName, _) if is_token(byte) => Some(InName),
            (Value | InValue, _) if is_token(byte) => Some(InValue),
            _ => None,
        }
    }

    /// Whether the extensions may end here.
    fn is_whole(self) -> bool {
        matches!(self, Extension::InName | Extension::InValue | Extension::Closed)
    }
}

/// How a call of [`Chunks::piece`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkEvent {
    /// All bytes were used.
    More,
    /// The line of the last chunk is complete; trailers follow.
    LastChunk,
    /// The next byte is wrong.
    Error(RequestError),
}

/// The beginning of some bytes of a chunked body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(crate) framing: usize,
    /// Bytes of data behind them.
    pub(crate) data: usize,
    /// Why the piece ends here.
    pub(crate) event: ChunkEvent,
}

impl Chunks {
    /// A parser for the body of a response.
    pub(super) fn of_response() -> Chunks {
        Chunks { takes_padding: true, ..Chunks::default() }
    }

    /// Parses up to the end of the next run of data.
    pub(super) fn piece(&mut self, bytes: &[u8]) -> Piece {
        let mut framing = 0;
        while framing < bytes.len() && self.expect != Expect::Data {
            match self.step(bytes[framing]) {
                Ok(false) => framing += 1,
                Ok(true) => return Piece { framing: framing + 1, data: 0, event: ChunkEvent::LastChunk },
                Err(error) => return Piece { framing, data: 0, event: ChunkEvent::Error(error) },
            }
        }
        let rest = bytes.len() - framing;
        let data = if self.expect == Expect::Data {
            usize::try_from(self.size).map_or(rest, |size| size.min(rest))
        } else {
            0
        };
        self.size -= data as u64;
        if self.expect == Expect::Data && self.size == 0 {
            self.expect = Expect::DataCr;
        }
        Piece { framing, data, event: ChunkEvent::More }
    }

    /// Parses one byte outside of data; true when it ends the line of the last chunk.
    fn step(&mut self, byte: u8) -> Result<bool, RequestError> {
        match self.expect {
            Expect::Size => self.size_byte(byte)?,
            Expect::Blank => self.blank_byte(byte)?,
            Expect::Extension => self.extension_byte(byte)?,
            Expect::SizeLf if byte == b'\n' => {
                self.digits = 0;
                if self.takes_padding {
                    self.extension_bytes = 0;
                }
                if self.size == 0 {
                    return Ok(true);
                }
                self.expect = Expect::Data;
            }
            Expect::SizeLf => return Err(RequestError::BareCr),
            Expect::DataCr if byte == b'\r' => self.expect = Expect::DataLf,
            Expect::DataLf if byte == b'\n' => self.expect = Expect::Size,
            Expect::DataCr | Expect::DataLf | Expect::Data => return Err(RequestError::ChunkEnd),
        }
        Ok(false)
    }

    fn size_byte(&mut self, byte: u8) -> Result<(), RequestError> {
        match byte {
            b';' if self.digits > 0 => {
                (self.expect, self.extension) = (Expect::Extension, Extension::Name);
            }
            b'\r' if self.digits > 0 => self.expect = Expect::SizeLf,
            b'\n' if self.digits > 0 => return Err(RequestError::BareLf),
            b' ' | b'\t' if self.digits > 0 && self.takes_padding => {
                self.expect = Expect::Blank;
                self.pad()?;
            }
            _ => {
                let digit = char::from(byte).to_digit(16).ok_or(RequestError::ChunkSize)?;
                if self.takes_padding && self.digits == 1 && self.size == 0 {
                    // A leading zero changes nothing.
                    self.pad()?;
                } else if self.digits == SIZE_DIGITS {
                    return Err(RequestError::ChunkSize);
                } else {
                    self.digits += 1;
                }
                self.size = self.size << 4 | u64::from(digit);
            }
        }
        Ok(())
    }

    fn blank_byte(&mut self, byte: u8) -> Result<(), RequestError> {
        match byte {
            b' ' | b'\t' => self.pad()?,
            b';' => self.expect = Expect::Extension,
            b'\r' => self.expect = Expect::SizeLf,
            b'\n' => return Err(RequestError::BareLf),
            _ => return Err(RequestError::ChunkSize),
        }
        Ok(())
    }

    fn pad(&mut self) -> Result<(), RequestError> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES { Err(RequestError::ChunkSize) } else { Ok(()) }
    }

    fn extension_byte(&mut self, byte: u8) -> Result<(), RequestError> {
        match byte {
            b'\r' if self.takes_padding || self.extension.is_whole() => self.expect = Expect::SizeLf,
            b'\n' => return Err(RequestError::BareLf),
            b'\t' | 0x20..=0x7e | 0x80.. if self.extension_bytes < EXTENSION_BYTES => {
                self.extension_bytes += 1;
                if !self.takes_padding {
                    self.extension = self.extension.after(byte).ok_or(RequestError::ChunkExtension)?;
                }
            }
            _ => return Err(RequestError::ChunkExtension),
        }
        Ok(())
    }
}
