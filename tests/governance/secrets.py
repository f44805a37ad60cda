"""Fifty kinds of secrets, made up, each in a text as tools, models and errors write it.

They are put together when they are used, so that no scanner of repositories takes this file for a leak.
"""

from __future__ import annotations

from typing import Final

A: Final = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY" * 8
HEX: Final = "0123456789abcdef" * 8


def _token(prefix: str, length: int, characters: str = A) -> str:
    return prefix + characters[:length]


_JWT: Final = ".".join(["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0", A[:43]])
_PEM_BODY: Final = "\n".join(A[at : at + 64] for at in range(0, 192, 64))


def _pem(kind: str) -> str:
    return f"-----BEGIN {kind}-----\n{_PEM_BODY}\n-----END {kind}-----"


#: Name, the text that has the secret in it, and the secret.
SECRETS: Final[dict[str, tuple[str, str]]] = {
    name: (text.replace("<>", secret), secret)
    for name, text, secret in (
        ("AWS key id", "key <> is wrong", "AKIA" + "IOSFODNN7QWERTYU"),
        ("AWS secret key", "aws_secret_access_key = <>", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz"),
        ("AWS session token", 'export AWS_SESSION_TOKEN="<>"', _token("FwoGZXIvYXdz", 80)),
        ("signed URL", "https://b.s3.amazonaws.com/k?X-Amz-Signature=<>&x=1", HEX[:64]),
        ("GCP API key", "https://maps.example/api?key=<>", _token("AIza", 35)),
        ("Google client secret", "client: <>", _token("GOCSPX-", 28)),
        ("Google access token", "got <>, expires", _token("ya29.", 60)),
        ("GCP service account", '{"private_key": "<>"}', _pem("PRIVATE KEY").replace("\n", "\\n")),
        ("Azure storage", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=<>;", A[:86] + "=="),
        ("Azure SAS", "https://a.blob.core.windows.net/c?sv=2024&sig=<>", A[:43] + "%3D"),
        ("Azure client secret", "secret <> of app", "abc8Q~" + A[:34]),
        ("Service Bus", "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=<>", A[:43] + "="),
        ("GitHub token", "remote: https://<>@github.com/acme/site", _token("ghp_", 36)),
        ("GitHub fine-grained", "token <> expired", _token("github_pat_", 82)),
        ("GitLab token", "PRIVATE-TOKEN: <>", _token("glpat-", 20)),
        ("Slack bot token", "xoxb: <>", "xoxb-" + "1234567890-" + A[:24]),
        ("Slack webhook", "post to https://hooks.slack.com/services/<>", "T0123/B0456/" + A[:24]),
        ("Discord webhook", "https://discord.com/api/webhooks/<>", "1234567890/" + A[:60]),
        ("Discord token", "login <>", "M" + A[:25] + "." + A[:6] + "." + A[:38]),
        ("Telegram token", "https://api.telegram.org/bot<>/getMe", "123456789:AA" + A[:33]),
        ("Stripe key", "Invalid API Key provided: <>", _token("sk_live_", 24)),
        ("Stripe webhook", "whsec is <>", _token("whsec_", 32)),
        ("OpenAI key", "Incorrect API key provided: <>.", _token("sk-proj-", 48)),
        ("Anthropic key", "x-api-key: <>", _token("sk-ant-api03-", 80)),
        ("Hugging Face", "use <> to log in", _token("hf_", 34)),
        ("Groq", "key=<>", _token("gsk_", 52)),
        ("LangSmith", "LANGSMITH_API_KEY=<>", _token("lsv2_pt_", 40)),
        ("npm", "//registry.npmjs.org/:_authToken=<>", _token("npm_", 36)),
        ("PyPI", "password = <>", _token("pypi-AgEIcHlwaS5vcmc", 60)),
        ("Docker", "docker login -p <>", _token("dckr_pat_", 27)),
        ("SendGrid", "mail by <>", "SG." + A[:22] + "." + A[:43]),
        ("Twilio", "sid AC1 key <>", "SK" + HEX[:32]),
        ("DigitalOcean", "doctl: <>", _token("dop_v1_", 64, HEX)),
        ("Shopify", "shop <>", _token("shpat_", 32, HEX)),
        ("Databricks", "host x, token <>", _token("dapi", 32, HEX)),
        ("New Relic", "ingest <>", _token("NRAK-", 27)),
        ("Vault", "vault said <>", _token("hvs.", 90)),
        ("Terraform", "tf <>", A[:14] + ".atlasv1." + A[:60]),
        ("age key", "identity <>", "AGE-SECRET-KEY-1" + "QWERTYUPASDFGHJKLZXCVBNM23456789" * 2),
        ("RSA key", "found\n<>\nin ~/.ssh", _pem("RSA PRIVATE KEY")),
        ("OpenSSH key", "<>", _pem("OPENSSH PRIVATE KEY")),
        ("PGP key", "<>", _pem("PGP PRIVATE KEY BLOCK")),
        ("JWT", "session <>", _JWT),
        ("bearer header", "curl -H 'Authorization: Bearer <>'", A[:40]),
        ("basic header", "Proxy-Authorization: Basic <>", "YW5uOmh1bnRlcjI="),
        ("cookie", "Set-Cookie: sid=<>; HttpOnly", A[:32]),
        ("PostgreSQL address", "postgresql://app:<>@db:5432/app", "p4ss/w0rd!x"[:4] + "-w0rd"),
        ("ADO connection", "Server=db;User Id=sa;Password=<>;", "S3cr3tPassw0rd"),
        ("Redis address", "redis://:<>@cache:6379/0", "r3d1s-pass"),
        ("MongoDB address", "mongodb+srv://u:<>@cluster.example/x", "m0ng0.pass"),
        ("option", "mysqldump --password <> db", "hunter2hunter2"),
        ("netrc", "machine example.com login ann password <>", "n3trc-pass"),
        ("assignment", "DB_PASSWORD=<>", "correct-horse"),
        ("JSON in text", 'said {\\"client_secret\\": \\"<>\\"}', "j50n-s3cr3t"),
        ("Python repr", "{'api_key': '<>'}", "r3pr-s3cr3t"),
        ("card", "paid with <>", "4111 1111 1111 1111"),
        ("IBAN", "to <> please", "DE89 3704 0044 0532 0130 00"),
        ("e-mail", "wrote to <>", "ann.example@acme-mail.example"),
    )
}
