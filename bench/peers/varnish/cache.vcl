# Varnish at its best for this work: the shortest way through VCL, without what the built-in rules would look at.
vcl 4.1;

backend default {
    .host = "127.0.0.1";
    .port = "@BACKEND_PORT@";
}

sub vcl_recv {
    return (hash);
}

sub vcl_hash {
    hash_data(req.url);
    return (lookup);
}

sub vcl_hit {
    return (deliver);
}

sub vcl_backend_response {
    return (deliver);
}

sub vcl_deliver {
    return (deliver);
}
