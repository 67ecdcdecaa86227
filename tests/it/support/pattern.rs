//! An endless sequence of bytes for large bodies: compared on the way, never kept, so that the memory of the test does
//! not hide that of the gateway.

use std::io::{ErrorKind, Read, Write};

/// Its length is prime, so that a piece that is lost, doubled or moved shows, whatever the size of buffers.
const PERIOD: usize = 65_521;

const PIECE: usize = 64 * 1024;

fn table() -> Vec<u8> {
    (0..PERIOD + PIECE).map(|place| ((place % PERIOD) as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// How many of `length` bytes came before the stream ended or left the pattern.
pub fn read(stream: &mut impl Read, length: u64) -> u64 {
    let table = table();
    let mut buffer = vec![0; PIECE];
    let mut count = 0;
    while count < length {
        let room = (length - count).min(PIECE as u64) as usize;
        let Ok(got) = stream.read(&mut buffer[..room]) else { return count };
        let place = (count % PERIOD as u64) as usize;
        if got == 0 || buffer[..got] != table[place..place + got] {
            return count;
        }
        count += got as u64;
    }
    count
}

/// Writes `length` bytes, and how many were taken. `stuck` is called at each write that timed out.
pub fn write(stream: &mut impl Write, length: u64, mut stuck: impl FnMut(u64)) -> u64 {
    let table = table();
    let mut count = 0;
    while count < length {
        let room = (length - count).min(PIECE as u64) as usize;
        let place = (count % PERIOD as u64) as usize;
        match stream.write(&table[place..place + room]) {
            Ok(taken) => count += taken as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => stuck(count),
            Err(_) => return count,
        }
    }
    count
}
