//! The floor: one thread that writes ready-made frames to every socket, sixteen a write, and does nothing
//! else. No service can deliver for less.
//!
//! It prints its address, then obeys lines on its input: `accept N`, `send N` (events).

use std::io::{BufRead, IoSlice, Read, Write, stdin};
use std::net::{TcpListener, TcpStream};

use crate::event::event;

const FRAMES_A_WRITE: usize = 16;

pub(crate) fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    println!("{}", listener.local_addr().expect("an address"));
    let mut sockets = Vec::new();
    let mut number = 0;
    for line in stdin().lock().lines() {
        let line = line.expect("a line");
        let (verb, count) = line.split_once(' ').expect("a verb and a number");
        let count = count.parse::<usize>().expect("a number");
        match verb {
            "accept" => sockets = (0..count).map(|_| accept(&listener)).collect(),
            "send" => {
                let frames: Vec<Vec<u8>> = (0..count as u64).map(|at| frame(number + at)).collect();
                number += count as u64;
                for group in frames.chunks(FRAMES_A_WRITE) {
                    sockets.iter_mut().for_each(|socket| write(socket, group));
                }
            }
            _ => panic!("no verb: {line}"),
        }
        println!("done");
    }
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().expect("a client");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").expect("an answer");
    socket.set_nodelay(true).expect("no delay");
    socket
}

fn frame(number: u64) -> Vec<u8> {
    let text = event(number);
    let mut frame = vec![0x81, 126];
    frame.extend(u16::try_from(text.len()).expect("a short event").to_be_bytes());
    frame.extend(text.bytes());
    frame
}

fn write(socket: &mut TcpStream, frames: &[Vec<u8>]) {
    let mut pieces: Vec<IoSlice<'_>> = frames.iter().map(|frame| IoSlice::new(frame)).collect();
    let mut left = &mut pieces[..];
    while !left.is_empty() {
        let written = socket.write_vectored(left).expect("written");
        IoSlice::advance_slices(&mut left, written);
    }
}
