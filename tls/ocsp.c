/* OCSP responses for stapling (RFC 6066 §8, RFC 6960): read from the file that lies beside the certificate.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <time.h>

#include "tls/certificate.h"

static int64_t seconds(const ASN1_GENERALIZEDTIME *t)
{
    struct tm parts;
    return ASN1_TIME_to_tm(t, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

/* The one response that is about `cert` (by its serial number): NULL = it is good, and *until says how long.
 */
static const char *judge(OCSP_RESPONSE *response, const X509 *cert, int64_t *until)
{
    if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        return "the responder did not answer it";
    OCSP_BASICRESP *basic = OCSP_response_get1_basic(response);
    const char *wrong = "it is not about this certificate";
    for (int i = 0; basic && i < OCSP_resp_count(basic); i++) {
        OCSP_SINGLERESP *one = OCSP_resp_get0(basic, i);
        ASN1_INTEGER *serial = NULL;
        OCSP_id_get0_info(NULL, NULL, NULL, &serial, (OCSP_CERTID *)(uintptr_t)OCSP_SINGLERESP_get0_id(one));
        if (!serial || ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(cert)) != 0)
            continue;
        ASN1_GENERALIZEDTIME *next = NULL;
        OCSP_single_get0_status(one, NULL, NULL, NULL, &next);
        *until = next ? seconds(next) : INT64_MAX;
        wrong = *until > (int64_t)time(NULL) ? NULL : "it is out of date";
        break;
    }
    OCSP_BASICRESP_free(basic);
    return wrong;
}

void tls_identity_load_ocsp(struct config *c, struct tls_files *files, const struct config_node *at,
                            const char *path, struct tls_identity *i)
{
    const char *ocsp_path = arena_printf(&c->arena, "%s.ocsp", path);
    struct slice text;
    if (!ocsp_path || tls_file_read(files, ocsp_path, &text) != 0) {
        if (ocsp_path && errno != ENOENT)
            config_warn(c, at, "cannot read %s: %s", ocsp_path, strerror(errno));
        return;
    }
    const unsigned char *der = (const unsigned char *)text.at;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &der, (long)text.len);
    const char *wrong = response ? judge(response, i->cert, &i->ocsp_until) : "it is no OCSP response in DER";
    if (wrong) {
        config_warn(c, at, "%s is not stapled: %s", ocsp_path, wrong);
    } else {
        i->ocsp = OPENSSL_memdup(text.at, text.len);
        i->ocsp_len = i->ocsp ? text.len : 0;
    }
    OCSP_RESPONSE_free(response);
    tls_file_release(&text);
    ERR_clear_error();
}
