//! Ids as YARN prints them.

use heddle_yarn::id::{ApplicationId, ContainerId};

#[test]
fn ids_are_read_and_printed() {
    for text in ["application_1700000000000_0001", "application_1700000000000_12345"] {
        assert_eq!(text.parse::<ApplicationId>().unwrap().to_string(), text);
    }
    for text in ["container_1700000000000_0001_01_000002", "container_e17_1700000000000_0001_02_123456"] {
        assert_eq!(text.parse::<ContainerId>().unwrap().to_string(), text);
    }
    let id: ContainerId = "container_e01_1700000000000_0003_02_000004".parse().unwrap();
    assert_eq!((id.attempt.application.number, id.attempt.number, id.number), (3, 2, 1 << 40 | 4));
}

#[test]
fn other_text_is_refused() {
    for text in [
        "",
        "application_1_",
        "application_1_2_3",
        "application_+1_2",
        "job_1_2",
        "application_1_99999999999",
    ] {
        let error = text.parse::<ApplicationId>().unwrap_err().to_string();
        assert_eq!(
            error,
            format!("`{text}` is no application id; it looks like application_1700000000000_0001")
        );
    }
    for text in [
        "container_1_2_3",
        "container_1_2_3_4_5",
        "container_e9999999999_1_2_3_4",
        "container_1_2_3_1099511627776",
    ] {
        assert!(text.parse::<ContainerId>().is_err(), "{text}");
    }
}
