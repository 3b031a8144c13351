"""`Sessions`: who has logged in, and which forms are of their pages."""

import pytest

from openai_runs.server.console import sessions
from openai_runs.server.console.sessions import Sessions


def known() -> Sessions:
    return Sessions(lambda: b"secret")


class TestSessions:
    @pytest.mark.parametrize("owner", ["anna", "", "ä.b c", "\ud800"])
    def test_a_session(self, owner: str):
        """Its token stands for the owner until it is ended."""
        server = known()
        token, other = server.begin(owner), server.begin("bert")
        assert (server.owner(token), server.owner(other)) == (owner, "bert")
        server.end(token)
        server.end(token)
        server.end("made up")
        assert (server.owner(token), server.owner(other)) == (None, "bert")

    def test_at_another_server(self):
        """Servers of one store take each other's sessions and forms, and no other server's."""
        token = known().begin("anna")
        assert known().owner(token) == "anna"
        assert known().is_form_token(token, known().form_token(token))
        other = Sessions(lambda: b"another secret")
        assert other.owner(token) is None
        assert not other.is_form_token(token, known().form_token(token))

    def test_what_was_made_up(self):
        """A token that was changed in any place stands for nobody; nor does anything else that a server signs."""
        server = known()
        token = server.begin("anna")
        for place in range(len(token)):
            changed = f"{token[:place]}{'B' if token[place] == 'A' else 'A'}{token[place + 1 :]}"
            assert server.owner(changed) is None
        for text in (
            "",
            ".",
            "...",
            "made up",
            "\ud800",
            token[:-1],
            f"{token}0",
            f"a.b.c.{server.form_token('a.b.c')}",
        ):
            assert server.owner(text) is None

    def test_another_secret(self):
        """When keys have changed, the secret is another one, and everybody has to log in again."""
        secrets = [b"old"]
        server = Sessions(lambda: secrets[-1])
        token = server.begin("anna")
        secrets.append(b"new")
        assert server.owner(token) is None

    def test_it_ends_by_itself(self):
        """After so many seconds the key is asked for again."""
        now = 100.0
        server = Sessions(lambda: b"secret", lambda: now)
        token = server.begin("anna")
        now += sessions.LASTS - 1
        assert server.owner(token) == "anna"
        now += 1
        assert server.owner(token) is None

    def test_logouts_without_end(self, monkeypatch: pytest.MonkeyPatch):
        """Memory is limited: those that have ended by themselves are forgotten, and then all sessions end."""
        monkeypatch.setattr(sessions, "MOST", 2)
        now = 100.0
        server = Sessions(lambda: b"secret", lambda: now)
        for _ in range(3):
            server.end(server.begin("anna"))
            now += sessions.LASTS
        tokens = [server.begin("anna") for _ in range(4)]
        for token in tokens[:2]:
            server.end(token)
        assert [server.owner(token) for token in tokens] == [None, None, "anna", "anna"]
        now += 1
        server.end(tokens[2])
        assert [server.owner(token) for token in tokens] == [None] * 4
        assert server.owner(server.begin("anna")) == "anna"

    def test_form_tokens(self):
        """That of one session is no other's, and is not the session's own token, which no page has."""
        server = known()
        token, other = server.begin("anna"), server.begin("anna")
        assert server.is_form_token(token, server.form_token(token))
        assert not server.is_form_token(other, server.form_token(token))
        assert not server.is_form_token(token, "\ud800")
        assert token not in server.form_token(token)
        assert server.form_token(token) not in token

    def test_repr(self):
        """It shows no secret."""
        assert "secret" not in repr(Sessions(lambda: b"secret"))
