//! nginx 1.22.1 (`ngx_http_upstream_init_chash`), whose points are those of Perl's Cache::Memcached::Fast: the CRC-32 of
//! host, a NUL, port, and the point before, of which the one before the first is 0.

use crate::dht::hash_ring::hash::Crc32;

/// Calls `take` with the points of a server, named as the directive names it.
pub(super) fn points(server: &str, count: u64, mut take: impl FnMut(u32)) {
    let (host, port) = parts(server);
    let base = Crc32::new().update(host.as_bytes()).update(&[0]).update(port.as_bytes());
    let mut point = 0_u32;
    for _ in 0..count {
        point = base.update(&point.to_le_bytes()).finish();
        take(point);
    }
}

/// Host and port; a name that ends in no port, and a socket's path, is a host. The port is the digits behind the last
/// colon, of which there may be none; nginx, too, takes the last group of an IPv6 address for one if it is all digits.
fn parts(server: &str) -> (&str, &str) {
    let socket = server.get(..5).filter(|start| start.eq_ignore_ascii_case("unix:"));
    if let Some(socket) = socket {
        return (&server[socket.len()..], "");
    }
    match server.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (server, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_apart_as_nginx_does() {
        for (server, expected) in [
            ("10.0.0.1:80", ("10.0.0.1", "80")),
            ("10.0.0.1", ("10.0.0.1", "")),
            ("web", ("web", "")),
            ("web:", ("web", "")),
            ("web:http", ("web:http", "")),
            ("[::1]:8080", ("[::1]", "8080")),
            ("unix:/run/a:1", ("/run/a:1", "")),
            ("UNIX:/run/a", ("/run/a", "")),
        ] {
            assert_eq!(parts(server), expected, "{server}");
        }
    }
}
