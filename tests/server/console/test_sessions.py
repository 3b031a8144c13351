"""`Sessions`: who has logged in, and which forms are of their pages."""

from openai_runs.server.console import sessions
from openai_runs.server.console.sessions import Sessions


class TestSessions:
    def test_a_session(self):
        """Its token stands for the owner until it is ended; a token that was made up stands for nobody."""
        known = Sessions()
        token, other = known.begin("anna"), known.begin("bert")
        assert (known.owner(token), known.owner(other), known.owner("made up"), known.owner("")) == (
            "anna",
            "bert",
            None,
            None,
        )
        known.end(token)
        known.end(token)
        assert (known.owner(token), known.owner(other)) == (None, "bert")

    def test_all_end_at_once(self):
        """When keys have changed, everybody has to log in again."""
        known = Sessions()
        token = known.begin("anna")
        known.clear()
        assert known.owner(token) is None

    def test_it_ends_by_itself(self):
        """After so many seconds the key is asked for again."""
        now = 100.0
        known = Sessions(lambda: now)
        token = known.begin("anna")
        now += sessions.LASTS - 1
        assert known.owner(token) == "anna"
        now += 1
        assert known.owner(token) is None

    def test_logins_without_end(self):
        """Memory is limited: the oldest session ends."""
        known = Sessions()
        tokens = [known.begin("anna") for _ in range(sessions.MOST + 1)]
        assert known.owner(tokens[0]) is None
        assert known.owner(tokens[1]) == known.owner(tokens[-1]) == "anna"

    def test_form_tokens(self):
        """That of one session is no other's, and is not the session's own token, which no page has."""
        known = Sessions()
        token, other = known.begin("anna"), known.begin("anna")
        assert known.is_form_token(token, known.form_token(token))
        assert not known.is_form_token(other, known.form_token(token))
        assert not known.is_form_token(token, "\ud800")
        assert token not in known.form_token(token)
        assert not Sessions().is_form_token(token, known.form_token(token))

    def test_repr(self):
        """It shows no token."""
        known = Sessions()
        assert known.begin("anna") not in repr(known)
