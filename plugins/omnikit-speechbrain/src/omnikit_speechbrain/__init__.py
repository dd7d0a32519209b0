"""SpeechBrain's models as parts of omnikit."""

import omnikit  # noqa: F401 - before speechbrain: it lets torchaudio be imported beside any build of torch
