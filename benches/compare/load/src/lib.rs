//! What the programs share: the mix of requests with random identifiers, and a reader of message heads that expects well-formed
//! ones, as it is for measuring and not for use.

use std::ops::Range;

/// Request lines with `{}` where an identifier belongs, and what follows each of them.
pub struct Mix {
    lines: Vec<Vec<String>>,
    tail: Vec<u8>,
}

impl Mix {
    /// Of `METHOD path` lines; with `body` bytes of JSON behind each request, if that is more than none.
    pub fn new(text: &str, body: usize) -> Mix {
        let lines = text.lines().map(|line| line.split("{}").map(str::to_owned).collect()).collect();
        let mut tail =
            " HTTP/1.1\r\nHost: ucs.test:8080\r\nUser-Agent: load\r\nAccept: application/json\r\n".to_owned();
        if body > 0 {
            tail += &format!("Content-Type: application/json\r\nContent-Length: {body}\r\n\r\n");
            tail += &format!("{{\"text\":\"{}\"}}", "x".repeat(body.saturating_sub(11)));
        } else {
            tail += "\r\n";
        }
        Mix { lines, tail: tail.into_bytes() }
    }

    /// Writes a random request, with random identifiers, in place of what `request` holds.
    pub fn write(&self, request: &mut Vec<u8>, dice: &mut Dice) {
        request.clear();
        let line = &self.lines[(dice.roll() % self.lines.len() as u64) as usize];
        for (number, part) in line.iter().enumerate() {
            if number > 0 {
                write_identifier(request, dice);
            }
            request.extend_from_slice(part.as_bytes());
        }
        request.extend_from_slice(&self.tail);
    }
}

/// Twelve digits, the first of them not zero.
fn write_identifier(request: &mut Vec<u8>, dice: &mut Dice) {
    let mut number = 100_000_000_000 + dice.roll() % 900_000_000_000;
    let mut digits = [0; 12];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    request.extend_from_slice(&digits);
}

/// xorshift64*: good enough to spread identifiers and moments, and the same for every contender.
pub struct Dice(u64);

impl Dice {
    /// Different streams for different numbers.
    pub fn new(seed: u64, stream: u64) -> Dice {
        Dice(seed.wrapping_mul(1_000_003).wrapping_add(stream + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// In [0, 1).
    pub fn fraction(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The head that `bytes` begin with: its length with the empty line, and the `Content-Length` that it tells. `None`: its end
/// has not come.
pub fn head(bytes: &[u8]) -> Option<(usize, Option<usize>)> {
    let (mut start, mut length) = (0, None);
    loop {
        let end = start + bytes[start..].iter().position(|&byte| byte == b'\n')?;
        let line = &bytes[start..end];
        if line.len() <= 1 {
            return Some((end + 1, length));
        }
        const NAME: &[u8] = b"content-length:";
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            length = std::str::from_utf8(&line[NAME.len()..]).ok().and_then(|digits| digits.trim().parse().ok());
        }
        start = end + 1;
    }
}

/// The status in the head of an answer.
pub fn status(head: &[u8]) -> Option<u16> {
    const PLACE: Range<usize> = 9..12;
    std::str::from_utf8(head.get(PLACE)?).ok()?.parse().ok()
}

/// The value below which `share` of the sorted values lie.
pub fn percentile<T: Copy>(sorted: &[T], share: f64) -> T {
    sorted[((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)]
}
