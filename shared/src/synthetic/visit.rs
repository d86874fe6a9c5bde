//! Where an open or a click comes from: an address, a place, a program.

use std::net::Ipv4Addr;

use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;

/// Where an open or a click came from.
#[derive(Serialize)]
pub(super) struct Visit {
    pub(super) ip: Ipv4Addr,
    location: Option<&'static Location>,
    user_agent: Option<&'static str>,
    user_agent_parsed: Option<&'static UserAgent>,
}

impl Visit {
    /// One, with its place and program as `opens` and `clicks` have them. Now and then neither is known.
    pub(super) fn new(random: &mut StdRng) -> (Visit, String, &'static str) {
        let ip = Ipv4Addr::new(192, 0, 2, random.random());
        let location = &LOCATIONS[random.random_range(0..LOCATIONS.len())];
        let agent = &USER_AGENTS[random.random_range(0..USER_AGENTS.len())];
        let place = format!("{}, {}", location.city, location.country_short);
        let known = !random.random_ratio(1, 20);
        let visit = Visit {
            ip,
            location: known.then_some(location),
            user_agent: Some(agent.text),
            user_agent_parsed: known.then_some(agent),
        };
        (visit, place, agent.short)
    }
}

#[derive(Debug, Serialize)]
struct Location {
    country_short: &'static str,
    country: &'static str,
    region: &'static str,
    city: &'static str,
    latitude: f64,
    longitude: f64,
    postal_code: &'static str,
    timezone: &'static str,
}

const LOCATIONS: [Location; 5] = [
    location("NO", "Norway", "Oslo", "Oslo", (59.913_868_8, 10.752_245_4), "0150", "+02:00"),
    location("DE", "Germany", "Berlin", "Berlin", (52.520_008, 13.404_954), "10117", "+02:00"),
    location("US", "United States", "Georgia", "Atlanta", (33.749_001, -84.387_978), "30303", "-05:00"),
    location("JP", "Japan", "Tokyo", "Chiyoda", (35.694_003, 139.753_595), "100-0001", "+09:00"),
    location("BR", "Brazil", "São Paulo", "São Paulo", (-23.550_52, -46.633_308), "01310-100", "-03:00"),
];

const fn location(
    country_short: &'static str,
    country: &'static str,
    region: &'static str,
    city: &'static str,
    (latitude, longitude): (f64, f64),
    postal_code: &'static str,
    timezone: &'static str,
) -> Location {
    Location { country_short, country, region, city, latitude, longitude, postal_code, timezone }
}

/// `user_agent_parsed`, and `user_agent` as its text.
#[derive(Debug, Serialize)]
struct UserAgent {
    #[serde(skip)]
    text: &'static str,
    #[serde(skip)]
    short: &'static str,
    r#type: &'static str,
    ua_family: &'static str,
    ua_name: &'static str,
    ua_version: &'static str,
    ua_url: &'static str,
    ua_company: &'static str,
    ua_company_url: &'static str,
    ua_icon: &'static str,
    os_family: &'static str,
    os_name: &'static str,
    os_url: &'static str,
    os_company: &'static str,
    os_company_url: &'static str,
    os_icon: &'static str,
    mobile: bool,
}

const USER_AGENTS: [UserAgent; 3] = [
    UserAgent {
        text: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
        short: "Mac OS X/Apple Mail",
        r#type: "Email Client",
        ua_family: "Apple Mail",
        ua_name: "Apple Mail 16.0",
        ua_version: "16.0",
        ua_url: "https://mail.example.com/",
        ua_company: "Example Inc.",
        ua_company_url: "https://www.example.com/",
        ua_icon: "https://cdn.example.com/img/ua/mail.png",
        os_family: "OS X",
        os_name: "OS X 10.15 Catalina",
        os_url: "https://os.example.com/",
        os_company: "Example Inc.",
        os_company_url: "https://www.example.com/",
        os_icon: "https://cdn.example.com/img/os/osx.png",
        mobile: false,
    },
    UserAgent {
        text: "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
        short: "Android/Chrome Mobile",
        r#type: "Mobile Browser",
        ua_family: "Chrome Mobile",
        ua_name: "Chrome Mobile 126.0",
        ua_version: "126.0",
        ua_url: "https://browser.example.org/mobile",
        ua_company: "Example Org",
        ua_company_url: "https://www.example.org/",
        ua_icon: "https://cdn.example.org/img/ua/browser-mobile.png",
        os_family: "Android",
        os_name: "Android 14",
        os_url: "https://os.example.org/android",
        os_company: "Example Org",
        os_company_url: "https://www.example.org/",
        os_icon: "https://cdn.example.org/img/os/android.png",
        mobile: true,
    },
    UserAgent {
        text: "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com ImageProxy)",
        short: "Windows XP/Image Proxy",
        r#type: "Robot",
        ua_family: "Image Proxy",
        ua_name: "Image Proxy",
        ua_version: "11.0",
        ua_url: "https://proxy.example.net/images",
        ua_company: "Example Net",
        ua_company_url: "https://www.example.net/",
        ua_icon: "https://cdn.example.net/img/ua/proxy.png",
        os_family: "Windows",
        os_name: "Windows XP",
        os_url: "https://os.example.net/windows",
        os_company: "Example Net",
        os_company_url: "https://www.example.net/",
        os_icon: "https://cdn.example.net/img/os/windowsxp.png",
        mobile: false,
    },
];
