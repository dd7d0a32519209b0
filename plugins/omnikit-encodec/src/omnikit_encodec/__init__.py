"""Meta's EnCodec as parts of omnikit."""

import omnikit  # noqa: F401 - before encodec: it lets torchaudio be imported beside any build of torch
