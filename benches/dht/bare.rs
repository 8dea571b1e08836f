//! The bare echo: crate `zmq`, blocking, a thread on each side.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Binds, prints the address and answers each request with as many bytes as its first four state.
pub(crate) fn serve() -> Result<()> {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::ROUTER)?;
    socket.bind("tcp://127.0.0.1:*")?;
    let endpoint = socket.get_last_endpoint()?.map_err(|_| anyhow::anyhow!("an endpoint that is no text"))?;
    println!("{endpoint}");
    std::thread::spawn(move || echo(&socket));
    super::until_input_ends();
    // Without waiting for the thread, which waits for requests.
    std::process::exit(0)
}

fn echo(socket: &zmq::Socket) -> Result<()> {
    let (mut id, mut request) = (zmq::Message::new(), zmq::Message::new());
    let mut answer = Vec::new();
    loop {
        socket.recv(&mut id, 0)?;
        socket.recv(&mut request, 0)?;
        let size = request.first_chunk().map_or(0, |size| u32::from_le_bytes(*size) as usize);
        answer.resize(size, 0);
        socket.send(&id[..], zmq::SNDMORE)?;
        socket.send(&answer[..], 0)?;
    }
}

pub(crate) struct Client {
    socket: zmq::Socket,
    request: Vec<u8>,
    answer: usize,
    _context: zmq::Context,
}

impl Client {
    /// A client whose requests and answers are of these sizes.
    pub(crate) fn connect(address: &str, request: usize, answer: usize) -> Result<Self> {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::DEALER)?;
        // As long as the library's, which is a locator.
        socket.set_identity(b"zmq+tcp://127.0.0.1:12345")?;
        socket.connect(address).with_context(|| format!("connecting to {address}"))?;
        let mut bytes = vec![0; request];
        bytes[..4].copy_from_slice(&u32::try_from(answer)?.to_le_bytes());
        Ok(Self { socket, request: bytes, answer, _context: context })
    }

    /// One request after the other; how long each took.
    pub(crate) fn lone(&self, count: usize) -> Result<Vec<Duration>> {
        let mut answer = zmq::Message::new();
        let one = |_| {
            let started = Instant::now();
            self.ask()?;
            self.hear(&mut answer)?;
            Ok(started.elapsed())
        };
        (0..count).map(one).collect()
    }

    /// So many requests under way at a time; answers a second.
    pub(crate) fn busy(&self, in_flight: usize, duration: Duration) -> Result<f64> {
        let mut answer = zmq::Message::new();
        let started = Instant::now();
        (0..in_flight).try_for_each(|_| self.ask())?;
        let mut answers = 0_u64;
        while started.elapsed() < duration {
            self.hear(&mut answer)?;
            answers += 1;
            self.ask()?;
        }
        let rate = answers as f64 / started.elapsed().as_secs_f64();
        (0..in_flight).try_for_each(|_| self.hear(&mut answer))?;
        Ok(rate)
    }

    fn ask(&self) -> Result<()> {
        Ok(self.socket.send(&self.request[..], 0)?)
    }

    fn hear(&self, answer: &mut zmq::Message) -> Result<()> {
        self.socket.recv(answer, 0)?;
        anyhow::ensure!(answer.len() == self.answer, "{} bytes, not {}", answer.len(), self.answer);
        Ok(())
    }
}
