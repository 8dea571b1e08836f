//! x
#![allow(missing_docs, unsafe_code, clippy::all)]
use bytes::Bytes;
use ringbus::qos::{Offered, Requested, ResourceLimits};
use ringbus::transport::{Locator, ZmqTransport};
use ringbus::{Encoding, Session};
use std::time::{Duration, Instant};
fn nodrop(_s: &zmq::Socket) {}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let secs = 1.0f64;
    match a[1].as_str() {
        "rp" => {
            let size: usize = a[3].parse().unwrap();
            let c = zmq::Context::new();
            let s = c.socket(zmq::PUB).unwrap();
            s.bind(&a[2]).unwrap();
            std::thread::sleep(Duration::from_millis(500));
            let mut buf = vec![b't', 0];
            buf.resize(2 + size, 1);
            // paced by credit-free: use XPUB nodrop through sndtimeo unsupported: block on EAGAIN
            unsafe_nodrop(&s);
            nodrop(&s);
            let t = Instant::now();
            let mut n = 0u64;
            while t.elapsed().as_secs_f64() < secs {
                for _ in 0..64 {
                    s.send(&buf[..], 0).unwrap();
                    n += 1;
                }
            }
            cpu(n, "rawpub");
            buf[0] = b't';
            for _ in 0..3 {
                s.send(&b"t\0"[..], 0).unwrap();
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        "rs" => {
            let c = zmq::Context::new();
            let s = c.socket(zmq::SUB).unwrap();
            s.connect(&a[2]).unwrap();
            s.set_subscribe(b"t\0").unwrap();
            let mut n = 0u64;
            let mut t = None;
            let mut m = zmq::Message::new();
            loop {
                s.recv(&mut m, 0).unwrap();
                if m.len() == 2 {
                    break;
                }
                if t.is_none() {
                    t = Some(Instant::now());
                }
                n += 1;
            }
            cpu(n, "rawsub");
            println!("RAW {:.0}", n as f64 / t.unwrap().elapsed().as_secs_f64());
        }
        "lp" => rt(async move {
            let size: usize = a[3].parse().unwrap();
            let s = Session::open(ZmqTransport::new(a[2].clone())).await.unwrap();
            let p = s
                .publisher::<Bytes>("t")
                .encoding(Encoding::Raw)
                .qos(Offered::reliable().keep_all().resource_limits(lim()))
                .build()
                .await
                .unwrap();
            p.matched(1).await.unwrap();
            let buf = Bytes::from(vec![1u8; size]);
            let t = Instant::now();
            let mut n = 0u64;
            while t.elapsed().as_secs_f64() < secs {
                for _ in 0..64 {
                    p.publish(&buf).await.unwrap();
                    n += 1;
                }
            }
            p.publish(&Bytes::new()).await.unwrap();
            p.flush().await.unwrap();
            cpu(n, "libpub");
        }),
        "ls" => rt(async move {
            let s = Session::open(ZmqTransport::ephemeral()).await.unwrap();
            s.attach(&Locator::new(format!("zmq+{}", a[2])).unwrap()).await.unwrap();
            let mut p = s
                .subscriber::<&[u8]>("t")
                .encoding(Encoding::Raw)
                .qos(Requested::reliable().keep_all().resource_limits(lim()))
                .build()
                .await
                .unwrap();
            let mut n = 0u64;
            let mut t = None;
            let mut f = 0u64;
            if std::env::var_os("ONE").is_some() {
                loop {
                    let m = p.recv().await.unwrap().unwrap();
                    if m.payload().is_empty() {
                        break;
                    }
                    if t.is_none() {
                        t = Some(Instant::now());
                    }
                    n += 1;
                }
            } else {
                'o: loop {
                    let b = p.recv_batch().await.unwrap().unwrap();
                    f += 1;
                    if t.is_none() {
                        t = Some(Instant::now());
                    }
                    for m in &b {
                        if m.value().unwrap().is_empty() {
                            break 'o;
                        }
                        n += 1;
                    }
                }
            }
            eprintln!("  samples a frame {:.0}", n as f64 / f as f64);
            cpu(n, "libsub");
            println!("LIB {:.0} {:?}", n as f64 / t.unwrap().elapsed().as_secs_f64(), p.stats());
        }),
        "pp" => rt(async move {
            // ping pong lib: role a[2]= a|b, endpoint own a[3], peer a[4], size
            let s = Session::open(ZmqTransport::new(a[3].clone())).await.unwrap();
            s.attach(&Locator::new(format!("zmq+{}", a[4])).unwrap()).await.unwrap();
            let (o, i) = if a[2] == "a" { ("ping", "pong") } else { ("pong", "ping") };
            let p = s
                .publisher::<Bytes>(o)
                .encoding(Encoding::Raw)
                .qos(Offered::reliable().keep_all())
                .build()
                .await
                .unwrap();
            let mut r = s
                .subscriber::<Bytes>(i)
                .encoding(Encoding::Raw)
                .qos(Requested::reliable().keep_all())
                .build()
                .await
                .unwrap();
            p.matched(1).await.unwrap();
            r.matched(1).await.unwrap();
            let buf = Bytes::from(vec![1u8; a[5].parse().unwrap()]);
            if a[2] == "b" {
                loop {
                    let m = r.recv().await.unwrap().unwrap();
                    if m.payload().is_empty() {
                        break;
                    }
                    p.publish(m.payload()).await.unwrap();
                }
            } else {
                let mut v = Vec::new();
                tokio::time::sleep(Duration::from_millis(300)).await;
                for _ in 0..5000 {
                    let t = Instant::now();
                    p.publish(&buf).await.unwrap();
                    r.recv().await.unwrap().unwrap();
                    v.push(t.elapsed());
                }
                v.sort();
                println!("LIB rtt p50 {:?} p99 {:?}", v[2500], v[4950]);
                p.publish(&Bytes::new()).await.unwrap();
                p.flush().await.unwrap();
            }
        }),
        "rr" => {
            let c = zmq::Context::new();
            let p = c.socket(zmq::PUB).unwrap();
            p.bind(&a[3]).unwrap();
            let r = c.socket(zmq::SUB).unwrap();
            r.connect(&a[4]).unwrap();
            r.set_subscribe(b"t\0").unwrap();
            std::thread::sleep(Duration::from_millis(500));
            let mut m = zmq::Message::new();
            let mut buf = vec![b't', 0];
            buf.resize(2 + a[5].parse::<usize>().unwrap(), 1);
            if a[2] == "b" {
                loop {
                    r.recv(&mut m, 0).unwrap();
                    if m.len() == 2 {
                        break;
                    }
                    p.send(&m[..], 0).unwrap();
                }
            } else {
                let mut v = Vec::new();
                for _ in 0..5000 {
                    let t = Instant::now();
                    p.send(&buf[..], 0).unwrap();
                    r.recv(&mut m, 0).unwrap();
                    v.push(t.elapsed());
                }
                v.sort();
                println!("RAW rtt p50 {:?} p99 {:?}", v[2500], v[4950]);
                p.send(&b"t\0"[..], 0).unwrap();
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        _ => {}
    }
}
fn cpu(n: u64, who: &str) {
    let t = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = t.rsplit(')').next().unwrap().split_whitespace().collect();
    let u: u64 = f[11].parse().unwrap();
    let k: u64 = f[12].parse().unwrap();
    eprintln!(
        "  {who} cpu ns/sample user {:.1} sys {:.1}",
        u as f64 * 1e7 / n as f64,
        k as f64 * 1e7 / n as f64
    );
}
fn lim() -> ResourceLimits {
    ResourceLimits { max_samples: 1 << 20, max_bytes: 64 << 20 }
}
#[allow(unsafe_code)]
fn unsafe_nodrop(s: &zmq::Socket) {
    let one = 1i32;
    let h = unsafe { *(s as *const zmq::Socket as *const *mut std::ffi::c_void) };
    let rc =
        unsafe { zmq_sys::zmq_setsockopt(h, zmq_sys::ZMQ_XPUB_NODROP as i32, (&raw const one).cast(), 4) };
    assert_eq!(rc, 0);
}
fn rt(f: impl Future<Output = ()> + Send + 'static) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        tokio::spawn(f).await.unwrap();
    });
}
