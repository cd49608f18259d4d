//! The URL schemes that indicators may have. A URL of another scheme (`meow://`) is defanged in a way that is not known,
//! or a misprint, and would never be found.

use crate::intel::indicator::TermValue;

/// Schemes of IANA's registry of URI schemes that come with a host, and the unregistered ones of malware and its
/// protocols. The number of a scheme in a snapshot has 16 bits, so there must not be many.
const KNOWN: &str = "
    http https ftp ftps sftp tftp ws wss file
    tcp udp tcp4 tcp6 udp4 udp6 tls ssl dtls quic socks socks4 socks4a socks5 socks5h proxy unix
    ssh telnet rdp vnc rlogin rsh smb smb2 cifs nfs afp scp rsync svn svn+ssh git git+ssh cvs hg bzr
    dns doh dot ntp dhcp snmp ldap ldaps ldapi kerberos radius sip sips rtsp rtsps rtmp rtmps rtmpe mms mmsh rtp srt stun
    turn irc ircs irc6 xmpp smtp smtps pop pop3 pop3s imap imaps nntp news mqtt mqtts amqp amqps coap coaps stomp nats
    redis rediss mysql mariadb postgres postgresql mongodb mongodb+srv mssql oracle jdbc odbc memcached cassandra
    elasticsearch zookeeper kafka rmi iiop jmx corba dcom msrpc winrm wsman wmi ipp ipps lpd
    stratum stratum+tcp stratum+ssl stratum+tls stratum1+tcp stratum2+tcp xmr daemon+tcp
    gopher gemini finger wais prospero ipfs ipns dweb hyper dat swarm ens ed2k dchub adc magnet
    vmess vless trojan ss ssr hysteria hysteria2 tuic wireguard openvpn
    tg telegram whatsapp skype zoommtg msteams steam discord slack viber signal
    intent android-app market itms itms-apps itms-services ms-settings ms-appinstaller ms-msdt search-ms webcal feed
    chrome chrome-extension moz-extension edge-extension view-source docker oci s3 gs gcs az wasb wasbs abfs abfss
    hdfs adl icap icaps dict acap beep soap soap.beep vemmi z39.50r z39.50s tip
";

/// Lets a value pass unless it is a URL with a scheme that no URL has; an error says why not.
pub(super) fn admit(value: &TermValue) -> Result<(), String> {
    let TermValue::Url(url) = value else { return Ok(()) };
    match url.scheme() {
        Some(scheme) if !KNOWN.split_ascii_whitespace().any(|known| known == scheme) => {
            let shown: String = scheme.chars().take(40).collect();
            Err(format!("`{shown}` is not a known URL scheme: no event would match; write the scheme that is meant"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::term;
    use crate::observable::Kind;

    #[test]
    fn only_known_schemes_pass() {
        for (url, passes) in [
            ("http://evil.example/", true),
            ("TCP://evil.example:81/", true),
            ("evil.example/a", true),
            ("meow://evil.example/", false),
            ("hxyp://evil.example/", false),
        ] {
            assert_eq!(admit(&term::value(Kind::Url, url).unwrap()).is_ok(), passes, "{url}");
        }
    }

    /// Scenario: a feed with more schemes than a snapshot can number.
    /// Guarantee: the known ones are so few that all feeds together cannot use the numbers up.
    #[test]
    fn the_known_schemes_are_few_and_distinct() {
        let mut all: Vec<&str> = KNOWN.split_ascii_whitespace().collect();
        let number = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), number);
        assert!(number < 1000);
    }
}
