"""`wingmanmatch demo`: three people from their first search to a confirmed meet-up, over real gRPC.

story.py   what happens, act by act
people.py  who they are
mails.py   their mails, as the outbox folder has them
clock.py   how days pass in a minute
"""

from wingmanmatch_server.demo.people import DemoFailed
from wingmanmatch_server.demo.story import play

__all__ = ["DemoFailed", "play"]
