//! The lines of logs that the benches of texts read.

/// A number for a place, without a pattern.
pub fn mixed(at: usize) -> usize {
    (((at as u64).wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize
}

/// A line as a server writes it: RFC 3164, RFC 5424, or the access log of a web server behind a header of syslog.
pub fn line(at: usize) -> String {
    let number = mixed(at);
    let (a, b, c, host) = (number % 223 + 1, number / 256 % 256, number / 65_536 % 256, number % 40);
    let (minute, second, port, id) = (number / 7 % 60, number / 11 % 60, number % 60_000 + 1024, number % 99_991);
    match at % 4 {
        0 => format!(
            "<38>Nov 30 11:{minute:02}:{second:02} web-{host} sshd[{id}]: Failed password for invalid user oracle from {a}.{b}.{c}.9 port {port} ssh2: too many authentication failures; disconnecting the session of the client, which asked for keyboard-interactive and password, after {second} seconds (preauth) [reverse mapping checking getaddrinfo failed]"
        ),
        1 => format!(
            "<134>1 2026-11-30T11:{minute:02}:{second:02}.482731Z fw-{host}.corp.example firewall {id} TRAFFIC [meta sequenceId=\"{number}\"] action=allow src={a}.{b}.{c}.7:{port} dst=203.0.113.{host}:443 proto=tcp rule=\"outbound web\" app=ssl bytes_out={id} bytes_in={port} zone_src=trust zone_dst=untrust session_end=tcp-fin duration={second}"
        ),
        2 => format!(
            "<190>Nov 30 11:{minute:02}:{second:02} proxy-{host} squid[{id}]: {a}.{b}.{c}.3 TCP_MISS/200 {port} CONNECT cdn{host}.assets{minute}.example.com:443 - HIER_DIRECT/198.51.100.{second} user=\"alice.{host}@example.org\" category=\"content delivery\" agent=\"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\""
        ),
        _ => format!(
            "{a}.{b}.{c}.21 - - [30/Nov/2026:11:{minute:02}:{second:02} +0000] \"GET /shop/item-{id}.html?ref={port}&page={host} HTTP/1.1\" 200 {port} \"https://www.example.com/shop/list?page={second}\" \"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\" rt=0.0{host}"
        ),
    }
}
