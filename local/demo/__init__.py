"""The whole of Drumtower as child processes of one, a live summary of it, and an audit that trusts none of them."""
