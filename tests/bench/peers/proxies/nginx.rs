use std::process::Command;

use super::{SERVER_NAME, Setup};

pub fn configure(command: &mut Command, setup: &Setup) {
    let Setup { address, folder, .. } = setup;
    let folder = folder.display();
    let (ssl, certificate) = match setup.has_tls() {
        true => (
            " ssl",
            format!(
                "ssl_protocols TLSv1.3;\nssl_certificate {};\nssl_certificate_key {};",
                setup.issued.cert.display(),
                setup.issued.key.display()
            ),
        ),
        false => ("", String::new()),
    };
    let file = setup.write(
        "nginx.conf",
        &format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr error;\n\
             events {{ worker_connections 19500; }}\n\
             http {{\n\
               access_log off;\n\
               client_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\n\
               fastcgi_temp_path {folder}/fastcgi;\nuwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n\
               server {{\n\
                 listen {address}{ssl} backlog=4096;\nserver_name {SERVER_NAME};\n{certificate}\n\
                 location / {{\n\
                   proxy_pass {backend};\nproxy_http_version 1.1;\n\
                   proxy_set_header Host $host;\n\
                   proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection upgrade;\n\
                   proxy_read_timeout 1h;\nproxy_send_timeout 1h;\n\
                   proxy_ssl_protocols TLSv1.3;\nproxy_ssl_name {SERVER_NAME};\nproxy_ssl_server_name on;\n\
                   proxy_ssl_verify on;\nproxy_ssl_trusted_certificate {authority};\n\
                   proxy_ssl_session_reuse off;\n\
                 }}\n\
               }}\n\
             }}\n",
            backend = setup.backend_url(),
            authority = setup.authority.display(),
        ),
    );
    command.arg("-p").arg(setup.folder).arg("-c").arg(file);
}
