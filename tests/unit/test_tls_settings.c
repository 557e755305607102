#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tls/settings.h"

struct holder {
    struct tls_server_settings *server;
    struct tls_client_settings *client;
};

static const struct option holder_options[] = {
    OPTION_AT(struct holder, server, "server", OPTION_BLOCK_IF, .table = &tls_server_table,
              .help = "A listener's."),
    OPTION_AT(struct holder, client, "client", OPTION_BLOCK_IF, .table = &tls_client_table,
              .flags = OPTION_FLAG_TRUE, .help = "An upstream's."),
};

static const struct option_table holder_table = {
    .name = "test",
    .options = holder_options,
    .count = COUNT_OF(holder_options),
    .size = sizeof(struct holder),
};

/* The faults, as text; "" = none. */
static const char *apply(struct config *c, const char *text, struct holder *out)
{
    config_init(c);
    assert_int_equal(config_parse(c, "t.yaml", slice_text(text)), 0);
    option_apply(c, &holder_table, c->root, out);
    return config_errors_text(c);
}

static void test_the_defaults_are_safe(void **state)
{
    (void)state;
    struct config c;
    struct holder h;
    assert_string_equal(apply(&c, "server: {certificates: {cert: a.pem}}\nclient: true\n", &h), "");
    assert_int_equal(h.server->certificates.count, 1);
    assert_int_equal(h.server->min_version, TLS_MIN_1_2);
    assert_int_equal(h.server->client_verify, TLS_VERIFY_OFF);
    assert_true(h.server->session_tickets && h.server->ocsp_stapling);
    assert_false(h.server->alpn_set);
    assert_true(h.client->verify);
    assert_int_equal(h.client->ca.len, 0);
    config_free(&c);
}

static void test_everything_can_be_said(void **state)
{
    (void)state;
    struct config c;
    struct holder h;
    const char *text =
        "server:\n"
        "  certificates:\n"
        "    - {cert: a.pem, key: a.key}\n"
        "    - {cert: b.pem, key: b.key, client_ca: other.pem}\n"
        "    - {cert: c.pem, key: c.key, client_verify: off}\n"
        "  min_version: \"1.3\"\n"
        "  ciphers: ECDHE+AESGCM\n"
        "  ciphersuites: TLS_AES_128_GCM_SHA256\n"
        "  curves: [X25519, P-256]\n"
        "  alpn: [h2, http/1.1]\n"
        "  client_ca: ca.pem\n"
        "  client_verify: optional\n"
        "  session_tickets: true\n"
        "  ticket_keys: keys.bin\n"
        "  ocsp_stapling: false\n"
        "client: {verify: true, ca: ca.pem, server_name: api.internal, cert: c.pem, key: c.key}\n";
    assert_string_equal(apply(&c, text, &h), "");
    const struct tls_certificate_settings *entries = h.server->certificates.at;
    assert_int_equal(h.server->certificates.count, 3);
    assert_int_equal(entries[0].client_verify, TLS_VERIFY_UNSET);
    assert_int_equal(entries[1].client_verify, TLS_VERIFY_REQUIRE);
    assert_int_equal(entries[2].client_verify, TLS_VERIFY_OFF);
    assert_int_equal(entries[1].node->line, 4);
    assert_int_equal(h.server->min_version, TLS_MIN_1_3);
    assert_int_equal(h.server->curves.count, 2);
    assert_true(h.server->alpn_set);
    assert_int_equal(h.server->alpn.count, 2);
    assert_int_equal(h.server->client_verify, TLS_VERIFY_OPTIONAL);
    assert_int_equal(h.server->ticket_keys.count, 1);
    assert_false(h.server->ocsp_stapling);
    assert_string_equal(h.client->server_name.at, "api.internal");
    config_free(&c);
}

static void test_wrong_settings_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"server: {min_version: \"1.2\"}", "needs certificates"},
        {"server: {certificates: [{cert: a}], self_signed: [a]}", "exclude each other"},
        {"server: {certificates: [{key: a}]}", "cert"},
        {"server: {self_signed: [a], client_verify: require}", "client_verify needs client_ca"},
        {"server: {certificates: [{cert: a, client_verify: optional}]}",
         "certificates[0]: client_verify needs client_ca"},
        {"server: {self_signed: [a], client_ca: x, client_verify: requir}", "did you mean"},
        {"server: {self_signed: [a], min_version: \"1.1\"}", "min_version"},
        {"server: {self_signed: [a], alpn: [h2, \"\"]}", "1 to 255 bytes"},
        {"server: {self_signed: []}", "self_signed"},
        {"client: {key: a}", "key needs cert"},
        {"client: {verfy: false}", "verify"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct config c;
        struct holder h;
        const char *errors = apply(&c, cases[i].text, &h);
        if (!strstr(errors, cases[i].words))
            fail_msg("%s: \"%s\" not in \"%s\"", cases[i].text, cases[i].words, errors);
        config_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_defaults_are_safe),
        cmocka_unit_test(test_everything_can_be_said),
        cmocka_unit_test(test_wrong_settings_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
