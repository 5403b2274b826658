"""Error and keyframes of several systems on speech that is made harder to recognise."""
