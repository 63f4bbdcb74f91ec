//! What the token endpoint says when it gives no token, and what the operator can do. Source: dynamics.md §1.3; the numbers
//! are Entra ID's (Microsoft Learn, "Microsoft Entra authentication and authorization error codes").

/// The numbers that name a cause, and the operator's sentence.
const CAUSES: [(&str, &str); 11] = [
    ("AADSTS7000215", "the client secret is wrong: the secret's value is wanted, not its id"),
    ("AADSTS7000222", "the client secret has expired: make a new one in the app registration"),
    ("AADSTS7000218", "neither a client secret nor an assertion arrived"),
    ("AADSTS700016", "the app registration is not in this directory: check `client_id` and `tenant_id`"),
    (
        "AADSTS700027",
        "the certificate is not one of the app registration: upload it there, or check which is used",
    ),
    ("AADSTS700024", "the assertion is not valid at this time: check this machine's clock"),
    ("AADSTS7000112", "the app registration is disabled"),
    ("AADSTS90002", "there is no such directory: check `tenant_id`"),
    ("AADSTS70011", "the environment's address is not one of Dynamics: check `url`"),
    ("AADSTS500011", "the directory does not know the environment: check `url` and `tenant_id`"),
    ("AADSTS53003", "a policy of the directory (conditional access) does not let the application in"),
];

/// The operator's sentence for what the token endpoint said; the numbers are the same in every language.
pub(in crate::io::dynamics) fn token_refusal(message: &str) -> &'static str {
    let numbers = || message.split(|c: char| !c.is_ascii_alphanumeric());
    let known = CAUSES.iter().find(|(number, _)| numbers().any(|word| word == *number));
    known.map_or(
        "the client id, its secret or the tenant is not accepted: check `client_id`, `tenant_id` and the secret's expiry \
         in the app registration",
        |(_, cause)| cause,
    )
}
