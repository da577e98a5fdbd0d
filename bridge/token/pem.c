#include "token/key_set.h"
#include "token/shown.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static bool refuse_block(const char *name, struct err *err)
{
    err_set(err, ERR_CONFIG, "it holds a %s, and PUBLIC KEY is wanted", SHOWN(slice_of(name)));
    if (strstr(name, "PRIVATE"))
        return err_hint(err, "openssl pkey -in FILE -pubout gives the public key; the private one "
                             "is not needed here");
    if (strcmp(name, "CERTIFICATE") == 0)
        return err_hint(err, "openssl x509 -in FILE -noout -pubkey gives its public key");
    if (strcmp(name, "RSA PUBLIC KEY") == 0)
        return err_hint(err, "openssl rsa -RSAPublicKey_in -in FILE -pubout converts it");
    return false;
}

static bool add_block(struct key_set *set, const char *name, const uint8_t *data, long len,
                      struct err *err)
{
    const uint8_t *end = data;
    struct token_key key;

    if (strcmp(name, PEM_STRING_PUBLIC) != 0)
        return refuse_block(name, err);
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &end, len);
    ERR_clear_error();
    if (!pkey || end != data + len) {
        EVP_PKEY_free(pkey);
        return err_set(err, ERR_CONFIG, "it cannot be read as a public key");
    }
    return token_key_of_pkey(pkey, &key, err) && key_set_add(set, &key, err);
}

/* False with *err untouched at the end of the text. */
static bool add_next(struct key_set *set, BIO *bio, struct err *err)
{
    char *name = NULL, *header = NULL;
    uint8_t *data = NULL;
    long len = 0;

    if (PEM_read_bio(bio, &name, &header, &data, &len) != 1) {
        bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;

        ERR_clear_error();
        return at_end ? false : err_set(err, ERR_CONFIG, "it is damaged, or cut off");
    }
    bool added = add_block(set, name, data, len, err);
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(data);
    return added;
}

bool key_set_add_pem(struct key_set *set, struct slice text, struct err *err)
{
    BIO *bio = BIO_new_mem_buf(text.ptr, (int)text.len);
    size_t n = 0;

    err->code = ERR_NONE;
    while (bio && add_next(set, bio, err))
        n++;
    BIO_free(bio);
    if (err->code != ERR_NONE)
        return err_wrap(err, "key %zu", n + 1);
    if (n == 0)
        return err_set(err, ERR_CONFIG,
                       "there is no key in it: -----BEGIN PUBLIC KEY----- is "
                       "wanted");
    return true;
}
